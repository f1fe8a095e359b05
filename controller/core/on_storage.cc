// Storage accounts and shares: users' names for the operator's places.
#include <algorithm>

#include "controller/core/engine.h"
#include "controller/core/volumes.h"

namespace trainyard::core {
namespace {

std::string text_of(const State& state, const Share& share) {
  return "share " + share.name + " of storage account " + state.accounts.at(share.account).name;
}

std::string subject_of(const State& state, const Share& share) {
  return "share:" + std::to_string(share.id.value) + " " + state.accounts.at(share.account).name + "/" + share.name;
}

bool is_at_or_below(const std::string& path, const std::string& directory) {
  return path == directory || path.starts_with(directory + "/");
}

// What else is kept in the share's directory: the operator's table may give places that lie in each other.
std::vector<std::string> neighbours_in(const State& state, const Share& share, const Volume& volume) {
  const auto in_it = [&](const Volume& other) {
    return other.kind == volume.kind && other.endpoint == volume.endpoint &&
           is_at_or_below(other.source, volume.source);
  };
  std::vector<std::string> names;
  for (const auto& [id, account] : state.accounts) {
    Volume place = volume_in(account.place, "");
    while (place.source.ends_with("/")) place.source.pop_back();
    if (in_it(place)) names.push_back("storage account " + account.name);
  }
  for (const auto& [id, other] : state.shares) {
    if (id != share.id && in_it(volume_of(state, other))) names.push_back(text_of(state, other));
  }
  return names;
}

}  // namespace

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
  const Volume volume = volume_of(e.state, share);
  const auto users = users_of(e.state, [&](const Volume& used) { return same_place(used, volume); });
  if (!users.empty()) {
    return Error{Code::failed_precondition, text_of(e.state, share) + " is mounted by " + listed(users) +
                                                ": end the jobs and delete the clusters first; nothing was removed"};
  }
  if (const auto others = neighbours_in(e.state, share, volume); !others.empty()) {
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
