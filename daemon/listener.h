// The daemon's place: the lock that makes it the only one, and the sockets that clients find it by.
#ifndef DAEMON_LISTENER_H_
#define DAEMON_LISTENER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "proto/rendezvous/rendezvous.h"

namespace kitlink::daemon {

// Not thread safe.
class Listener {
 public:
  // Takes the daemon's lock, then listens on the socket. A daemon that holds the lock although clients cannot reach it
  // (it is ending, or somebody removed its socket) is told to end and waited for, up to `patience_ms`.
  // AlreadyExists when it stays; PermissionDenied when the folder is not to be trusted.
  static absl::StatusOr<std::unique_ptr<Listener>> Take(const Rendezvous& rendezvous, int patience_ms);
  // Closes; the lock goes with the process's last descriptor, here.
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  // Rendezvous::socket, Rendezvous::direct.
  enum Door { kSocket, kDirect };

  // To wait for connections at; -1 once closed, and of the direct one where its socket cannot be had.
  int fd(Door door) const { return sockets_[door].fd; }
  // A connection of this user, non-blocking; -1 when there is none, or it was another user's (then *foreign is their
  // uid, and the connection is closed).
  int Accept(Door door, uid_t* foreign, bool* refused);
  // Removes the sockets and stops listening; the lock stays.
  void Close();

 private:
  struct Socket {
    std::string path;
    int fd = -1;
    dev_t device = 0;
    ino_t inode = 0;

    absl::Status Open(const std::string& at);
    void Close();
  };

  Listener() = default;
  Socket sockets_[2];
  int lock_ = -1;
};

}  // namespace kitlink::daemon

#endif  // DAEMON_LISTENER_H_
