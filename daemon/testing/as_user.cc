// as_user UID COMMAND...: runs a command as another user, without the groups of this one.

#include <grp.h>
#include <unistd.h>

#include <cstdlib>

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  uid_t uid = static_cast<uid_t>(atoi(argv[1]));
  if (setgroups(0, nullptr) != 0 || setgid(uid) != 0 || setuid(uid) != 0) return 125;
  execv(argv[2], argv + 2);
  return 127;
}
