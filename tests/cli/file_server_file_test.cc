// Files and flags of `file-server create`: what is taken, what is ignored with a warning, what is said of mistakes.
#include "cli/file_server_file.h"

#include <catch2/catch.hpp>

using namespace trainyard;
using namespace trainyard::cli;
using Catch::Matchers::Contains;

namespace {

std::string with(const std::string& more) {
  return R"({"properties": {"vmSize": "Standard_DS2")" + more + "}}";
}

v1::FileServerSpec spec_of(const std::string& text, const FileServerFlags& flags = {}) {
  std::vector<std::string> warnings;
  const auto spec = make_file_server_spec(text, "nfs.json", flags, warnings);
  INFO((spec ? "" : spec.error().message));
  REQUIRE(spec.ok());
  return *spec;
}

std::string message(const std::string& text, const FileServerFlags& flags = {}) {
  std::vector<std::string> warnings;
  const auto spec = make_file_server_spec(text, "nfs.json", flags, warnings);
  return spec ? std::string("no error") : spec.error().message;
}

}  // namespace

TEST_CASE("a file server's file: every field, and what stands for nothing given") {
  const auto spec = spec_of(with(R"(,
    "dataDisks": {"diskSizeInGB": 20, "diskCount": 3, "storageAccountType": "Standard_LRS", "cachingType": "readonly"},
    "sshConfiguration": {"userAccountSettings": {"adminUserName": "ada", "adminUserSshPublicKey": "ssh-rsa A"}})"));
  CHECK(spec.vm_size() == "Standard_DS2");
  CHECK(spec.disk_size_in_gb() == 20);
  CHECK(spec.disk_count() == 3);
  CHECK(spec.storage_account_type() == "Standard_LRS");
  CHECK(spec.caching_type() == "readonly");
  CHECK(spec.admin_user_name() == "ada");
  CHECK(spec.admin_user_ssh_public_key() == "ssh-rsa A");
  const auto plain = spec_of(with(""));
  CHECK(plain.disk_size_in_gb() == 10);
  CHECK(plain.disk_count() == 1);
  CHECK(plain.storage_account_type() == "Premium_LRS");
  CHECK(plain.caching_type() == "none");
}

TEST_CASE("a file server's flags win over its file") {
  FileServerFlags flags{"Standard_DS4", "readwrite", "Premium_LRS", "bob", "ssh-rsa B", 4, 40};
  const auto spec = spec_of(
      with(R"(, "dataDisks": {"diskSizeInGB": 20, "diskCount": 3, "storageAccountType": "Standard_LRS"})"), flags);
  CHECK(spec.vm_size() == "Standard_DS4");
  CHECK(spec.caching_type() == "readwrite");
  CHECK(spec.storage_account_type() == "Premium_LRS");
  CHECK(spec.admin_user_name() == "bob");
  CHECK(spec.admin_user_ssh_public_key() == "ssh-rsa B");
  CHECK(spec.disk_count() == 4);
  CHECK(spec.disk_size_in_gb() == 40);
  CHECK(spec_of("", flags).vm_size() == "Standard_DS4");
  flags.disk_count = 0;  // for the controller to refuse, by name
  CHECK(spec_of("", flags).disk_count() == 0);
}

TEST_CASE("mistakes in a file server's file are said with their place") {
  for (const auto& [text, said] : std::vector<std::pair<std::string, std::string>>{
           {"", "no VM size: give --vm-size SIZE"},
           {"{", "nfs.json: line 1, column 2"},
           {"{}", "properties: is missing"},
           {R"({"properties": {}})", "no VM size"},
           {R"({"properties": {"vmSize": 2}})", "properties.vmSize"},
           {with(R"(, "dataDisks": {"diskSizeInGB": 0})"), "properties.dataDisks.diskSizeInGB"},
           {with(R"(, "dataDisks": {"diskSizeInGB": "large"})"), "properties.dataDisks.diskSizeInGB"},
           {with(R"(, "dataDisks": {"diskCount": -1})"), "properties.dataDisks.diskCount"},
           {with(R"(, "dataDisks": {"diskCount": 1.5})"), "properties.dataDisks.diskCount"},
           {with(R"(, "dataDisks": [])"), "properties.dataDisks"},
           {with(R"(, "sshConfiguration": {"userAccountSettings": {"adminUserName": []}})"),
            "properties.sshConfiguration.userAccountSettings.adminUserName"}}) {
    INFO(text);
    CHECK_THAT(message(text), Contains(said));
  }
}

TEST_CASE("what has no meaning in a file server's file is ignored with a warning") {
  std::vector<std::string> warnings;
  const auto spec = make_file_server_spec(with(R"(, "subnet": {"id": "s"}, "fileServerType": "nfs", "shape": "round",
    "sshConfiguration": {"publicIPsToAllow": ["*"], "userAccountSettings": {"adminUserPassword": "p4ss"}})"),
                                          "nfs.json", {}, warnings);
  REQUIRE(spec.ok());
  std::string all;
  for (const std::string& warning : warnings) all += warning + "\n";
  for (const char* key : {"subnet", "fileServerType", "shape", "publicIPsToAllow", "adminUserPassword"}) {
    CHECK_THAT(all, Contains(key));
  }
  CHECK(all.find("p4ss") == std::string::npos);
  CHECK(spec->SerializeAsString().find("p4ss") == std::string::npos);
}
