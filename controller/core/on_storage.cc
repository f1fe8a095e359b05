// Storage accounts and shares: users' names for the operator's places.
#include <algorithm>

#include "controller/core/engine.h"

namespace trainyard::core {
namespace {

std::string text_of(const State& state, const Share& share) {
  return "share " + share.name + " of storage account " + state.accounts.at(share.account).name;
}

std::string subject_of(const State& state, const Share& share) {
  return "share:" + std::to_string(share.id.value) + " " + state.accounts.at(share.account).name + "/" + share.name;
}

bool mounts(const std::vector<Volume>& volumes, const std::string& directory) {
  return std::any_of(volumes.begin(), volumes.end(), [&](const Volume& volume) { return volume.source == directory; });
}

// The jobs that have not ended and the clusters that have `directory` on their nodes, or will.
std::vector<std::string> users_of(const State& state, const std::string& directory) {
  std::vector<std::string> users;
  const auto look_at = [&](JobId id) {
    const Job& job = state.jobs.at(id);
    if (mounts(job.volumes, directory)) users.push_back("job " + path_of(state, job));
  };
  for (const auto& [cluster, queue] : state.queues) {
    for (const QueueKey& key : queue) look_at(key.job);
  }
  for (const auto& [cluster, jobs] : state.active_jobs) {
    for (JobId id : jobs) look_at(id);
  }
  for (const auto& [id, cluster] : state.clusters) {
    if (mounts(cluster.volumes, directory)) users.push_back("cluster " + path_of(state, cluster));
  }
  return users;
}

std::string listed(const std::vector<std::string>& names) {
  constexpr std::size_t kMost = 5;
  std::string text;
  for (std::size_t i = 0; i < std::min(names.size(), kMost); ++i) text += (i == 0 ? "" : ", ") + names[i];
  if (names.size() > kMost) text += " and " + std::to_string(names.size() - kMost) + " more";
  return text;
}

bool is_at_or_below(const std::string& path, const std::string& directory) {
  return path == directory || path.starts_with(directory + "/");
}

// What else is kept in the share's directory: the operator's table may give places that lie in each other.
std::vector<std::string> neighbours_in(const State& state, const Share& share, const std::string& directory) {
  std::vector<std::string> names;
  for (const auto& [id, account] : state.accounts) {
    if (is_at_or_below(account.place, directory)) names.push_back("storage account " + account.name);
  }
  for (const auto& [id, other] : state.shares) {
    if (id != share.id && is_at_or_below(directory_of(state, other), directory)) names.push_back(text_of(state, other));
  }
  return names;
}

}  // namespace

Result<Volume> find_volume(const State& state, const std::string& field, const std::string& account,
                           const std::string& share, const std::string& relative_mount_path) {
  auto found = state.account_by_name.find(lower(account));
  if (found == state.account_by_name.end()) {
    return Error{Code::not_found, field + ": storage account " + account +
                                      " does not exist; create it with `trainyard storage account create`"};
  }
  const Account& row = state.accounts.at(found->second);
  auto there = state.share_by_path.find(path_key({account, share}));
  if (there == state.share_by_path.end()) {
    return Error{Code::not_found, field + ": share " + share + " is not in storage account " + row.name +
                                      "; create it with `trainyard storage share create`"};
  }
  const Share& found_share = state.shares.at(there->second);
  if (found_share.deleting) {
    return Error{Code::failed_precondition, field + ": " + text_of(state, found_share) + " is being deleted"};
  }
  return Volume{Volume::Kind::local, directory_of(state, found_share), relative_mount_path};
}

Result<Subject> apply(Engine& e, const CreateAccount& c) {
  auto group = find_group(e.state, c.group);
  if (!group.ok()) return group.error();
  const std::string key = path_key({c.name});
  if (auto existing = e.state.account_by_name.find(key); existing != e.state.account_by_name.end()) {
    const Account& account = e.state.accounts.at(existing->second);
    if (account.group == *group && account.location == c.location && account.sku == c.sku) {
      return Subject{Subject::Kind::account, account.id.value};
    }
    return Error{Code::already_exists, "storage account " + account.name + " exists already in group " +
                                           e.state.groups.at(account.group).name + " with another definition"};
  }
  if (e.state.groups.at(*group).deleting)
    return Error{Code::failed_precondition, "group " + c.group + " is being deleted"};
  Account row{{e.next_id()}, *group, c.name, c.location, c.sku, c.place, e.now};
  const AccountId id = row.id;
  e.note("account:" + std::to_string(id.value) + " " + c.name, "created", "at " + c.place);
  e.state.account_by_name.emplace(key, id);
  e.state.accounts.emplace(id, std::move(row));
  e.accounts.change(id);
  return Subject{Subject::Kind::account, id.value};
}

Result<Subject> apply(Engine& e, const CreateShare& c) {
  auto account = e.state.account_by_name.find(path_key({c.account}));
  if (account == e.state.account_by_name.end()) {
    return Error{Code::not_found, "storage account " + c.account + " does not exist"};
  }
  const std::string key = path_key({c.account, c.name});
  if (auto existing = e.state.share_by_path.find(key); existing != e.state.share_by_path.end()) {
    const Share& row = e.state.shares.at(existing->second);
    if (!row.deleting) return Subject{Subject::Kind::share, row.id.value};
    return Error{Code::already_exists, text_of(e.state, row) +
                                           " is being deleted; wait until it is gone, or delete it again if nobody is "
                                           "at it any more"};
  }
  const ShareId id{e.next_id()};
  e.note("share:" + std::to_string(id.value) + " " + c.account + "/" + c.name, "created", "");
  e.state.share_by_path.emplace(key, id);
  e.state.shares.emplace(id, Share{id, account->second, c.name, e.now});
  e.shares.change(id);
  return Subject{Subject::Kind::share, id.value};
}

Result<Subject> apply(Engine& e, const DeleteShare& c) {
  auto id = find_share(e.state, c.account, c.name);
  if (!id.ok()) return id.error();
  const Share& share = e.state.shares.at(*id);
  const Subject subject{Subject::Kind::share, id->value};
  if (share.deleting) return subject;
  const std::string directory = directory_of(e.state, share);
  if (const auto users = users_of(e.state, directory); !users.empty()) {
    return Error{Code::failed_precondition, text_of(e.state, share) + " is mounted by " + listed(users) +
                                                ": end the jobs and delete the clusters first; nothing was removed"};
  }
  if (const auto others = neighbours_in(e.state, share, directory); !others.empty()) {
    return Error{Code::failed_precondition,
                 "the directory of " + text_of(e.state, share) + " also holds " + listed(others) +
                     " (see `storage` in the controller's configuration): nothing was removed"};
  }
  e.edit(*id).deleting = true;
  e.note(subject_of(e.state, share), "deleting", "deleted by " + e.who);
  return subject;
}

Result<Subject> apply(Engine& e, const ForgetShare& c) {
  auto found = e.state.shares.find(c.share);
  if (found == e.state.shares.end()) return Subject{};  // an earlier one came through
  const Share& share = found->second;
  if (!share.deleting) {
    return Error{Code::failed_precondition, text_of(e.state, share) + " is not being deleted"};
  }
  e.note(subject_of(e.state, share), "deleted", "its files are gone");
  e.state.share_by_path.erase(path_key({e.state.accounts.at(share.account).name, share.name}));
  e.state.shares.erase(found);
  e.shares.erase(c.share);
  return Subject{};
}

}  // namespace trainyard::core
