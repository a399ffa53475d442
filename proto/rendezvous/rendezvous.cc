#include "proto/rendezvous/rendezvous.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>

namespace kitlink {
namespace {

std::string Environment(const char* name) {
  const char* value = getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

std::string Describe(const std::string& path, const char* what) { return path + ": " + what; }

bool OwnFolder(const std::string& path, uid_t uid) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode) && info.st_uid == uid;
}

}  // namespace

RendezvousEnvironment RendezvousEnvironment::FromProcess() {
  RendezvousEnvironment environment;
  environment.kitlink_socket = Environment("KITLINK_SOCKET");
  environment.xdg_runtime_dir = Environment("XDG_RUNTIME_DIR");
  environment.uid = geteuid();
  return environment;
}

bool FindRendezvous(const RendezvousEnvironment& environment, Rendezvous* rendezvous, std::string* error) {
  *rendezvous = Rendezvous();
  if (!environment.kitlink_socket.empty()) {
    size_t slash = environment.kitlink_socket.rfind('/');
    if (environment.kitlink_socket[0] != '/' || slash + 1 == environment.kitlink_socket.size()) {
      *error = "KITLINK_SOCKET is not an absolute path: " + environment.kitlink_socket;
      return false;
    }
    rendezvous->socket_given = true;
    rendezvous->socket = environment.kitlink_socket;
    rendezvous->folder = slash == 0 ? "/" : environment.kitlink_socket.substr(0, slash);
    rendezvous->direct = rendezvous->socket + ".direct";
    rendezvous->spawn_lock = rendezvous->socket + ".spawn.lock";
    rendezvous->daemon_lock = rendezvous->socket + ".lock";
    return true;
  }
  // A value left behind by su or sudo names another user's folder.
  if (!environment.xdg_runtime_dir.empty() && environment.xdg_runtime_dir[0] == '/' &&
      OwnFolder(environment.xdg_runtime_dir, environment.uid)) {
    rendezvous->folder = environment.xdg_runtime_dir + "/kitlink";
  } else {
    rendezvous->folder = environment.temporary + "/kitlink-" + std::to_string(environment.uid);
  }
  rendezvous->socket = rendezvous->folder + "/kitlinkd.sock";
  rendezvous->direct = rendezvous->folder + "/direct.sock";
  rendezvous->spawn_lock = rendezvous->folder + "/spawn.lock";
  rendezvous->daemon_lock = rendezvous->folder + "/kitlinkd.lock";
  return true;
}

bool IsPrivateFolder(const std::string& path, uid_t uid, std::string* error) {
  struct stat info;
  if (lstat(path.c_str(), &info) != 0) {
    int saved = errno;
    *error = Describe(path, strerror(saved));
    errno = saved;
    return false;
  }
  errno = 0;
  if (!S_ISDIR(info.st_mode)) {
    *error = Describe(path, "is not a folder");
    return false;
  }
  if (info.st_uid != uid) {
    *error = Describe(path, "belongs to another user");
    return false;
  }
  if ((info.st_mode & 077) != 0) {
    *error = Describe(path, "is open to other users (its mode should be 0700)");
    return false;
  }
  return true;
}

bool PrepareFolder(const Rendezvous& rendezvous, uid_t uid, std::string* error) {
  if (mkdir(rendezvous.folder.c_str(), 0700) != 0 && errno != EEXIST) {
    *error = Describe(rendezvous.folder, strerror(errno));
    return false;
  }
  return rendezvous.socket_given || IsPrivateFolder(rendezvous.folder, uid, error);
}

SocketAddress::SocketAddress(const std::string& path) {
  address_.sun_family = AF_UNIX;
  std::string name = path;
  if (name.size() >= sizeof(address_.sun_path)) {
    size_t slash = path.rfind('/');
    if (slash == std::string::npos) return;
    folder_ = open(path.substr(0, slash + 1).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (folder_ < 0) return;
    name = "/proc/self/fd/" + std::to_string(folder_) + path.substr(slash);
    if (name.size() >= sizeof(address_.sun_path)) return;
  }
  memcpy(address_.sun_path, name.c_str(), name.size() + 1);
  length_ = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size() + 1);
}

SocketAddress::~SocketAddress() {
  if (folder_ >= 0) close(folder_);
}

bool PeerUser(int socket, uid_t* uid) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || size != sizeof(peer)) return false;
  *uid = peer.uid;
  return true;
}

}  // namespace kitlink
