// Storage accounts and shares: users' names for the operator's places.
#include "controller/core/engine.h"

namespace trainyard::core {

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
  return Volume{Volume::Kind::local, row.place + "/" + state.shares.at(there->second).name, relative_mount_path};
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
    return Subject{Subject::Kind::share, existing->second.value};
  }
  const ShareId id{e.next_id()};
  e.note("share:" + std::to_string(id.value) + " " + c.account + "/" + c.name, "created", "");
  e.state.share_by_path.emplace(key, id);
  e.state.shares.emplace(id, Share{id, account->second, c.name, e.now});
  e.shares.change(id);
  return Subject{Subject::Kind::share, id.value};
}

}  // namespace trainyard::core
