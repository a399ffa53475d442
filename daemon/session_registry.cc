#include "daemon/session_registry.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace kitlink::daemon {
namespace {

// Outputs are absolute, so the two kinds of names cannot meet.
std::string MapKey(const SessionName& name) { return name.key.empty() ? name.output : absl::StrCat("key:", name.key); }

}  // namespace

SessionRegistry::SessionRegistry(LinkerFactory* factory, WorkerPool* pool, uint64_t memory_limit)
    : factory_(factory), pool_(pool), memory_limit_(memory_limit) {}

std::shared_ptr<Session> SessionRegistry::FindOrCreate(const SessionName& name) {
  absl::MutexLock lock(&mutex_);
  std::shared_ptr<Session>& session = sessions_[MapKey(name)];
  if (session == nullptr) session = std::make_shared<Session>(name.key, factory_, pool_);
  return session;
}

std::shared_ptr<Session> SessionRegistry::Find(const SessionName& name) const {
  absl::MutexLock lock(&mutex_);
  auto found = sessions_.find(MapKey(name));
  if (found != sessions_.end() && found->second->Snapshot().exists) return found->second;
  if (!name.key.empty()) return nullptr;
  std::shared_ptr<Session> last;
  absl::Time last_used = absl::InfinitePast();
  // any order: several keys may have linked it, and the session that was used last counts.
  for (const auto& [key, session] : sessions_) {
    SessionSnapshot snapshot = session->Snapshot();
    if (!snapshot.exists || snapshot.output != name.output || snapshot.last_used < last_used) continue;
    last = session, last_used = snapshot.last_used;
  }
  return last;
}

std::vector<std::shared_ptr<Session>> SessionRegistry::List() const {
  std::vector<std::pair<std::string, std::shared_ptr<Session>>> found;
  {
    absl::MutexLock lock(&mutex_);
    // any order: sorted below.
    for (const auto& [key, session] : sessions_) {
      SessionSnapshot snapshot = session->Snapshot();
      if (snapshot.exists) found.emplace_back(snapshot.output, session);
    }
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first < b.first : a.second->key() < b.second->key();
  });
  std::vector<std::shared_ptr<Session>> sessions;
  for (auto& [output, session] : found) sessions.push_back(std::move(session));
  return sessions;
}

std::vector<std::string> SessionRegistry::Trim(const Session* keep) {
  std::vector<std::pair<SessionSnapshot, std::shared_ptr<Session>>> idle;
  uint64_t held = 0;
  {
    absl::MutexLock lock(&mutex_);
    // any order: a sum, and a list that is sorted below.
    for (auto it = sessions_.begin(); it != sessions_.end();) {
      Session* session = it->second.get();
      // Nobody but the map has it, so nobody can be about to use it.
      if (session != keep && it->second.use_count() == 1 && session->Empty()) {
        sessions_.erase(it++);
        continue;
      }
      SessionSnapshot snapshot = session->Snapshot();
      held += snapshot.status.bytes_held;
      if (session != keep && !snapshot.busy && snapshot.exists) idle.emplace_back(snapshot, it->second);
      ++it;
    }
  }
  if (held <= memory_limit_) return {};
  std::sort(idle.begin(), idle.end(),
            [](const auto& a, const auto& b) { return a.first.last_used < b.first.last_used; });
  std::vector<std::string> closed;
  for (auto& [snapshot, session] : idle) {
    if (held <= memory_limit_) break;
    held -= std::min(held, snapshot.status.bytes_held);
    session->Post([](Session::Turn& turn) {
      turn.KeepNow();
      turn.Close();
    });
    closed.push_back(snapshot.output);
  }
  return closed;
}

}  // namespace kitlink::daemon
