// Where a client and its daemon meet: the socket's place, the folder it is in, the locks beside it.
//
// Both sides use this file, so that they cannot disagree. Standard library only, because the clients are static
// and small. Everything here is thread safe (no state); errors come back as text for people.
#ifndef PROTO_RENDEZVOUS_RENDEZVOUS_H_
#define PROTO_RENDEZVOUS_RENDEZVOUS_H_

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#include <string>

namespace kitlink {

// The paths of one daemon.
struct Rendezvous {
  std::string folder;       // holds everything below; private to the user unless `socket_given`
  std::string socket;       // folder + "/kitlinkd.sock": gRPC, for any client
  std::string direct;       // folder + "/direct.sock": Link, Relink and Shutdown, faster
  std::string spawn_lock;   // flock: held by the client that starts a daemon, until that one is ready
  std::string daemon_lock;  // flock: held by the daemon as long as it lives
  bool socket_given = false;  // KITLINK_SOCKET named the socket: its folder is the user's own business
};

// What decides on the paths; from the environment in programs, set by hand in tests.
struct RendezvousEnvironment {
  std::string kitlink_socket;   // KITLINK_SOCKET
  std::string xdg_runtime_dir;  // XDG_RUNTIME_DIR
  std::string temporary = "/tmp";
  uid_t uid = 0;  // the effective one

  static RendezvousEnvironment FromProcess();
};

// $KITLINK_SOCKET, else in $XDG_RUNTIME_DIR/kitlink when that variable names an existing folder of this user, else in
// /tmp/kitlink-UID. Fails (false, `error`) when KITLINK_SOCKET is not an absolute path.
bool FindRendezvous(const RendezvousEnvironment& environment, Rendezvous* rendezvous, std::string* error);

// True when `path` is a real folder (no symbolic link) of `uid` that nobody else may enter (mode 0700). What is in a
// folder that fails this test is not trusted: somebody else may have put it there. A missing folder fails, with
// errno ENOENT.
bool IsPrivateFolder(const std::string& path, uid_t uid, std::string* error);

// Makes the folder when it is missing, then checks it as IsPrivateFolder does. With KITLINK_SOCKET only makes it.
bool PrepareFolder(const Rendezvous& rendezvous, uid_t uid, std::string* error);

// A socket address for `path`. A path that is too long for one (108 bytes) goes through a descriptor of its folder,
// which is kept open for as long as this object lives.
class SocketAddress {
 public:
  explicit SocketAddress(const std::string& path);
  ~SocketAddress();
  SocketAddress(const SocketAddress&) = delete;
  SocketAddress& operator=(const SocketAddress&) = delete;

  bool valid() const { return length_ != 0; }
  const sockaddr* address() const { return reinterpret_cast<const sockaddr*>(&address_); }
  socklen_t length() const { return length_; }

 private:
  sockaddr_un address_{};
  socklen_t length_ = 0;
  int folder_ = -1;
};

// The user at the other end of a connected Unix socket (SO_PEERCRED). False when the kernel will not say.
bool PeerUser(int socket, uid_t* uid);

}  // namespace kitlink

#endif  // PROTO_RENDEZVOUS_RENDEZVOUS_H_
