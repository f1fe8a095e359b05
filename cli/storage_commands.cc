// Storage accounts and shares. share_commands.cc has the files on them.
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "cli/commands.h"
#include "cli/share_files.h"
#include "cli/show.h"
#include "trainyard/v1/volumes.grpc.pb.h"

namespace trainyard::cli {
namespace {

using Stub = v1::Volumes::Stub;

struct Options {
  std::string group, name, location, sku, account;
  bool must_exist = false;
};
using Shared = std::shared_ptr<Options>;

constexpr const char* kNoQuota = "a share has no limit of its own; the file system of its place has";

int create_account(Program& program, const Options& options) {
  v1::CreateAccountRequest request;
  request.set_request_id(new_request_id());
  request.set_resource_group(options.group);
  request.set_name(options.name);
  request.set_location(options.location);
  request.set_sku(options.sku);
  const auto account = program.ask(&Stub::CreateAccount, request);
  return account ? program.print(show_one(*account)) : program.exit_code();
}

int list_accounts(Program& program, const Options& options) {
  v1::ListAccountsRequest request;
  request.set_resource_group(options.group);
  const auto accounts = program.ask(&Stub::ListAccounts, request);
  return accounts ? program.print(show_all(accounts->accounts())) : program.exit_code();
}

int create_share(Program& program, const Options& options) {
  const auto account = storage_account(options.account);
  if (!account) return program.usage(account.error());
  v1::CreateShareRequest request;
  request.set_request_id(new_request_id());
  request.set_account(*account);
  request.set_name(options.name);
  return program.ask(&Stub::CreateShare, request) ? program.print(show_flag("created", true)) : program.exit_code();
}

// The account's shares, or nullopt with the error printed.
std::optional<v1::ListSharesResponse> shares_of(Program& program, const Options& options) {
  const auto account = storage_account(options.account);
  if (!account) {
    program.usage(account.error());
    return std::nullopt;
  }
  v1::ListSharesRequest request;
  request.set_account(*account);
  return program.ask(&Stub::ListShares, request);
}

const v1::Share* find_share(const v1::ListSharesResponse& shares, const std::string& name) {
  const auto found = std::find_if(shares.shares().begin(), shares.shares().end(), [&](const v1::Share& share) {
    return CLI::detail::to_lower(share.name()) == CLI::detail::to_lower(name);
  });
  return found == shares.shares().end() ? nullptr : &*found;
}

int list_shares(Program& program, const Options& options) {
  const auto shares = shares_of(program, options);
  return shares ? program.print(show_all(shares->shares())) : program.exit_code();
}

int show_share(Program& program, const Options& options) {
  const auto shares = shares_of(program, options);
  if (!shares) return program.exit_code();
  const v1::Share* share = find_share(*shares, options.name);
  if (share != nullptr) return program.print(show_one(*share));
  return program.fail(Error{Code::not_found, "there is no share " + options.name + " in the storage account"});
}

int share_exists(Program& program, const Options& options) {
  const auto shares = shares_of(program, options);
  if (!shares) return program.exit_code();
  return program.print(show_flag("exists", find_share(*shares, options.name) != nullptr));
}

// No time limit: the call goes on until the last file is gone. A controller or node that goes away meanwhile is waited
// for, and asked again.
int delete_share(Program& program, const Options& options) {
  const auto shares = shares_of(program, options);
  if (!shares) return program.exit_code();
  const v1::Share* share = find_share(*shares, options.name);
  if (share == nullptr && options.must_exist) {
    return program.fail(Error{Code::not_found, "there is no share " + options.name + " in the storage account"});
  }
  if (share == nullptr) return program.print(show_flag("deleted", false));
  if (!program.confirmed("", Program::Scripts::go_on)) return program.exit_code();
  const auto client = program.client();
  if (!client) return program.fail(client.error());
  v1::DeleteShareRequest request;
  request.set_request_id(new_request_id());
  request.set_account(share->account());
  request.set_name(share->name());
  const ProgressLine progress("deleting share " + share->name() + " and its files");
  set_interrupt_note("the share can no longer be used, and some of its files are gone; delete it again to go on");
  Patience patience(**client);
  for (;;) {
    Stub stub((*client)->channel());
    grpc::ClientContext context;
    v1::DeleteShareResponse response;
    const auto begun = Patience::Clock::now();
    const grpc::Status status = stub.DeleteShare(&context, request, &response);
    if (status.ok()) break;
    if (!patience.again(status, begun)) return program.fail((*client)->error_of(status));
  }
  set_interrupt_note(nullptr);
  return program.print(show_flag("deleted", true));
}

void add_accounts(CLI::App& storage, Program& program, const Shared& options) {
  CLI::App& accounts = program.group(storage, "account", "Accounts: names for places the operator configured");
  CLI::App& creating =
      program.command(accounts, "create", "Create a storage account",
                      "trainyard storage account create -g mygroup -n mystorageaccount --sku Standard_LRS",
                      [=, &program] { return create_account(program, *options); });
  add_group_flag(creating, options->group);
  creating.add_option("-n,--name", options->name, "Name, unique over all groups")->required();
  creating.add_option("-l,--location", options->location, "Free text, shown only");
  creating.add_option("--sku", options->sku, "Free text, shown only");
  program.refuse_flags(creating, {"--kind", "--access-tier", "--tags", "--https-only", "--encryption-services"});
  CLI::App& listing =
      program.command(accounts, "list", "List storage accounts", "trainyard storage account list -o table",
                      [=, &program] { return list_accounts(program, *options); });
  use_setting(*listing.add_option("-g,--resource-group", options->group, "Only this group's"), "group", options->group);
}

void add_shares(CLI::App& storage, Program& program, const Shared& options) {
  CLI::App& shares = program.group(storage, "share", "Shares: volumes of an account");
  CLI::App& creating = program.command(shares, "create", "Create a share",
                                       "trainyard storage share create --name myshare --account-name mystorageaccount",
                                       [=, &program] { return create_share(program, *options); });
  program.refuse_flags(creating, {"--quota", "--metadata"});
  CLI::App& showing = program.command(shares, "show", "Show a share",
                                      "trainyard storage share show --name myshare --account-name mystorageaccount",
                                      [=, &program] { return show_share(program, *options); });
  CLI::App& asking = program.command(shares, "exists", "Whether there is a share",
                                     "trainyard storage share exists --name myshare --account-name mystorageaccount",
                                     [=, &program] { return share_exists(program, *options); });
  CLI::App& deleting =
      program.command(shares, "delete", "Delete a share with all its files, once nothing mounts it",
                      "trainyard storage share delete --name myshare --account-name mystorageaccount -y",
                      [=, &program] { return delete_share(program, *options); });
  program.add_yes(deleting);
  deleting.add_flag("--fail-not-exist", options->must_exist,
                    "Fail when there is no such share [answers deleted: false]");
  program.refuse_flags(deleting, {"--snapshot", "--delete-snapshots"});
  for (CLI::App* command : {&creating, &showing, &asking, &deleting}) {
    command->add_option("-n,--name", options->name, "Name of the share")->required();
    add_account_flag(*command, options->account, program);
  }
  add_account_flag(program.command(shares, "list", "List an account's shares",
                                   "trainyard storage share list --account-name mystorageaccount -o table",
                                   [=, &program] { return list_shares(program, *options); }),
                   options->account, program);
  for (const char* none : {"update", "stats"}) program.refuse_command(shares, none, kNoQuota);
}

}  // namespace

void add_storage_commands(CLI::App& app, Program& program) {
  CLI::App& storage = program.group(app, "storage", "Storage: accounts, shares and their files");
  auto options = std::make_shared<Options>();
  add_accounts(storage, program, options);
  add_shares(storage, program, options);
  add_share_commands(storage, program);
}

}  // namespace trainyard::cli
