#include "cli/file_server_file.h"

#include "batchai/json_fields.h"

namespace trainyard::cli {
namespace {

using namespace batchai;
using Need = Fields::Need;

void read_ssh(Fields ssh, v1::FileServerSpec& spec) {
  Fields account = ssh.object("userAccountSettings");
  spec.set_admin_user_name(account.text("adminUserName"));
  spec.set_admin_user_ssh_public_key(account.text("adminUserSshPublicKey"));
  account.drop({"adminUserPassword"}, "no account is made on a storage node, and it is sent nowhere");
  account.finish();
  ssh.drop({"publicIPsToAllow"}, "nobody logs in to a file server; its files are for the cluster's network");
  ssh.finish();
}

void read_file(const nlohmann::json& parsed, v1::FileServerSpec& spec, FirstError& error,
               std::vector<std::string>& warnings) {
  Fields top(&parsed, "", error, &warnings);
  Fields properties = top.object("properties", Need::required);
  top.drop({"location", "tags"}, "only a workspace has it");
  top.finish();
  spec.set_vm_size(properties.text("vmSize"));
  Fields disks = properties.object("dataDisks");
  if (const auto size = disks.whole("diskSizeInGB", 1)) spec.set_disk_size_in_gb(*size);
  if (const auto count = disks.whole("diskCount", 1)) spec.set_disk_count(*count);
  spec.set_storage_account_type(disks.text("storageAccountType"));
  spec.set_caching_type(disks.text("cachingType"));
  disks.finish();
  read_ssh(properties.object("sshConfiguration"), spec);
  properties.drop({"subnet"}, "the storage nodes' network is the operator's");
  properties.drop({"fileServerType"}, "every file server speaks NFS");
  properties.finish();
}

void set_text(const std::string& flag, std::string* field) {
  if (!flag.empty()) *field = flag;
}

}  // namespace

Result<v1::FileServerSpec> make_file_server_spec(const std::string& text, const std::string& file_name,
                                                 const FileServerFlags& flags, std::vector<std::string>& warnings) {
  v1::FileServerSpec spec;
  if (!text.empty()) {
    const auto parsed = parse_file(text, file_name);
    if (!parsed) return parsed.error();
    FirstError error;
    read_file(*parsed, spec, error, warnings);
    if (error) return *error;
  }
  set_text(flags.vm_size, spec.mutable_vm_size());
  set_text(flags.caching_type, spec.mutable_caching_type());
  set_text(flags.storage_sku, spec.mutable_storage_account_type());
  set_text(flags.user_name, spec.mutable_admin_user_name());
  set_text(flags.ssh_public_key, spec.mutable_admin_user_ssh_public_key());
  if (flags.disk_count) spec.set_disk_count(*flags.disk_count);
  if (flags.disk_size) spec.set_disk_size_in_gb(*flags.disk_size);
  if (spec.vm_size().empty()) {
    return Error{Code::invalid_argument, "no VM size: give --vm-size SIZE, or properties.vmSize in a --config-file"};
  }
  if (spec.disk_size_in_gb() == 0 && !flags.disk_size) spec.set_disk_size_in_gb(10);
  if (spec.disk_count() == 0 && !flags.disk_count) spec.set_disk_count(1);
  if (spec.storage_account_type().empty()) spec.set_storage_account_type("Premium_LRS");
  if (spec.caching_type().empty()) spec.set_caching_type("none");
  return spec;
}

}  // namespace trainyard::cli
