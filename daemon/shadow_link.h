// A link that nobody asked for, to see whether a patched output is as good as one from scratch.
//
// It runs in a process of its own (kitlinkd --shadow-link), which can be killed at any moment, which gets what processor
// time nobody else wants, and whose memory is gone afterwards.
#ifndef DAEMON_SHADOW_LINK_H_
#define DAEMON_SHADOW_LINK_H_

#include <cstdio>

#include "daemon/shadow_job.h"

namespace kitlink::daemon {

// Links `job` in memory and compares. Says on `out` what differs, a line each.
ShadowExit RunShadowLink(const ShadowJob& job, FILE* out);

// The program: reads the job from descriptor `in`, makes this process as unobtrusive as can be, runs it.
int ShadowLinkMain(int in);

}  // namespace kitlink::daemon

#endif  // DAEMON_SHADOW_LINK_H_
