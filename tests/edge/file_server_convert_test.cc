// Every field of a file server: what is taken, what stands for nothing given, what is said of each kind of bad value,
// and what is shown of one that is registered, and of one that a storage node makes.
#include <catch2/catch.hpp>
#include <functional>

#include "proto/convert.h"

using namespace trainyard;

namespace {

v1::FileServerSpec good() {
  v1::FileServerSpec spec;
  spec.set_vm_size("Standard_DS2");
  spec.set_disk_size_in_gb(10);
  spec.set_disk_count(2);
  spec.set_storage_account_type("Premium_LRS");
  return spec;
}

using Change = std::function<void(v1::FileServerSpec&)>;
core::FileServerSpec taken(const Change& change) {
  v1::FileServerSpec spec = good();
  change(spec);
  const auto converted = from_proto(spec);
  INFO((converted ? "" : converted.error().message));
  REQUIRE(converted.ok());
  return *converted;
}
std::string error_of(const Change& change) {
  v1::FileServerSpec spec = good();
  change(spec);
  const auto converted = from_proto(spec);
  return converted ? "no error" : converted.error().message;
}

}  // namespace

TEST_CASE("a file server: every field's accepted values and defaults") {
  const core::FileServerSpec plain = taken([](auto&) {});
  CHECK(plain == core::FileServerSpec{"Standard_DS2", 10, 2, "Premium_LRS", "none", "", ""});
  CHECK(taken([](auto& s) { s.set_vm_size(std::string(64, 'a')); }).vm_size.size() == 64);
  CHECK(taken([](auto& s) { s.set_disk_size_in_gb(1); }).disk_size_gb == 1);
  CHECK(taken([](auto& s) { s.set_disk_size_in_gb(1'000'000); }).disk_size_gb == 1'000'000);
  CHECK(taken([](auto& s) { s.set_disk_count(1'000); }).disk_count == 1'000);
  // Enums are compared without case, and shown as Batch AI wrote them.
  CHECK(taken([](auto& s) { s.set_storage_account_type("standard_lrs"); }).storage_account_type == "Standard_LRS");
  CHECK(taken([](auto& s) { s.set_storage_account_type("PREMIUM_LRS"); }).storage_account_type == "Premium_LRS");
  for (const char* caching : {"none", "readonly", "readwrite"}) {
    CHECK(taken([&](auto& s) { s.set_caching_type(caching); }).caching_type == caching);
  }
  CHECK(taken([](auto& s) { s.set_caching_type("ReadOnly"); }).caching_type == "readonly");
  CHECK(taken([](auto& s) { s.set_admin_user_name("demo"); }).admin_user_name == "demo");
  CHECK(taken([](auto& s) { s.set_admin_user_ssh_public_key("ssh-rsa A"); }).admin_user_ssh_public_key == "ssh-rsa A");
}

TEST_CASE("a file server: each kind of bad value is said with its field") {
  const struct {
    const char* message;
    Change change;
  } rows[] = {
      {"properties.vmSize: is missing", [](auto& s) { s.clear_vm_size(); }},
      {"properties.vmSize: ", [](auto& s) { s.set_vm_size("two words"); }},
      {"properties.vmSize: ", [](auto& s) { s.set_vm_size(std::string(65, 'a')); }},
      {"properties.dataDisks.diskSizeInGB: must be 1 to 1000000, got 0", [](auto& s) { s.clear_disk_size_in_gb(); }},
      {"properties.dataDisks.diskSizeInGB: must be 1 to 1000000, got -1", [](auto& s) { s.set_disk_size_in_gb(-1); }},
      {"properties.dataDisks.diskSizeInGB: must be 1 to 1000000, got 1000001",
       [](auto& s) { s.set_disk_size_in_gb(1'000'001); }},
      {"properties.dataDisks.diskCount: must be 1 to 1000, got 0", [](auto& s) { s.clear_disk_count(); }},
      {"properties.dataDisks.diskCount: must be 1 to 1000, got 1001", [](auto& s) { s.set_disk_count(1'001); }},
      {"properties.dataDisks.storageAccountType: is '', must be one of Standard_LRS, Premium_LRS",
       [](auto& s) { s.clear_storage_account_type(); }},
      {"properties.dataDisks.storageAccountType: is 'Fast', must be one of Standard_LRS, Premium_LRS",
       [](auto& s) { s.set_storage_account_type("Fast"); }},
      {"properties.dataDisks.cachingType: is 'often', must be one of none, readonly, readwrite",
       [](auto& s) { s.set_caching_type("often"); }},
      {"properties.sshConfiguration.userAccountSettings.adminUserName: ",
       [](auto& s) { s.set_admin_user_name(std::string(65, 'a')); }},
      {"properties.sshConfiguration.userAccountSettings.adminUserSshPublicKey: ",
       [](auto& s) { s.set_admin_user_ssh_public_key(std::string(16'385, 'a')); }},
  };
  for (const auto& row : rows) CHECK_THAT(error_of(row.change), Catch::StartsWith(row.message));
}

TEST_CASE("a file server: what is shown") {
  core::FileServerView view{
      {{7}, {2}, "nfs", taken([](auto&) {}), "10.0.0.5", "/srv/nfs", 1'000}, "g", "w", "succeeded", ""};
  v1::FileServer registered;
  to_proto(view, registered);
  CHECK(registered.id() ==
        "/subscriptions/trainyard/resourceGroups/g/providers/Microsoft.BatchAI/workspaces/w/fileservers/nfs");
  CHECK(registered.mount_point() == "/srv/nfs");
  CHECK(registered.file_server_internal_ip() == "10.0.0.5");
  CHECK(registered.port() == 0);
  CHECK(registered.node().empty());
  CHECK(registered.provisioning_state() == "succeeded");
  // A row of before the time was kept: it was made at once.
  CHECK(from_proto(registered.provisioning_state_transition_time()) == 1'000);
  CHECK(registered.spec().disk_count() == 2);

  view.row.node = "storage1";
  view.row.port = 2050;
  view.row.state_changed_ms = 5'000;
  view.provisioning_state = "failed";
  view.reason = "storage node storage1: no room";
  v1::FileServer made;
  to_proto(view, made);
  CHECK(made.port() == 2050);
  CHECK(made.node() == "storage1");
  CHECK(made.reason() == "storage node storage1: no room");
  CHECK(from_proto(made.creation_time()) == 1'000);
  CHECK(from_proto(made.provisioning_state_transition_time()) == 5'000);
}
