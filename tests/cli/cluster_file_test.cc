// Cluster files and the flags of `cluster create`: what is taken, what is ignored with a warning, what is refused.
#include "batchai/cluster_file.h"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

using namespace trainyard;
using namespace trainyard::batchai;
using Catch::Matchers::Contains;

namespace {

namespace fs = std::filesystem;

std::string message(const std::string& text, const ClusterFlags& flags = {}) {
  std::vector<std::string> warnings;
  const auto spec = make_cluster_spec(text, "cluster.json", flags, warnings);
  return spec ? std::string("no error") : spec.error().message;
}

// A good cluster whose properties end with `more` (",..." or "").
std::string cluster_with(const std::string& more) {
  return R"({"properties": {"vmSize": "s", "scaleSettings": {"manual": {"targetNodeCount": 1}})" + more + "}}";
}

std::string setup_with(const std::string& more) {
  return cluster_with(R"(, "nodeSetup": {"setupTask": {"commandLine": "c", "stdOutErrPathPrefix": "p")" + more + "}}");
}

fs::path recipes() {
  const char* shared = std::getenv("TRAINYARD_SHARED");
  return fs::path(shared != nullptr ? shared : TRAINYARD_SOURCE_DIR "/../shared") / "recipes";
}

std::string content(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

TEST_CASE("every published cluster file is taken as it is, without a warning, and flags win over it") {
  if (!fs::is_directory(recipes())) {
    WARN("skipped: " << recipes() << " is not here (set TRAINYARD_SHARED)");
    return;
  }
  int count = 0;
  for (const auto& recipe : fs::directory_iterator(recipes())) {
    const fs::path file = recipe.path() / "cluster.json";
    if (!fs::exists(file)) continue;
    INFO(file);
    ++count;
    std::vector<std::string> warnings;
    ClusterFlags flags{.storage_account_name = "mystorageaccount"};
    const auto spec = make_cluster_spec(content(file), file, flags, warnings);
    REQUIRE((spec ? "" : spec.error().message) == std::string());
    CHECK(warnings.empty());
    CHECK(spec->target_node_count() > 0);
    CHECK(spec->admin_user_name() == "demouser");
    for (const auto& share : spec->node_setup().azure_file_shares()) {
      CHECK(share.azure_file_url() == "https://mystorageaccount.file.core.windows.net/batchaisample");
    }
    flags.target = 7;
    flags.vm_size = "Standard_NC12";
    const auto changed = make_cluster_spec(content(file), file, flags, warnings);
    CHECK(changed->target_node_count() == 7);
    CHECK(changed->vm_size() == "Standard_NC12");
  }
  CHECK(count > 10);
}

TEST_CASE("the cluster files among the examples are taken; what they say that has no effect is said") {
  int count = 0;
  for (const auto& file : fs::directory_iterator(TRAINYARD_SOURCE_DIR "/examples/clusters")) {
    INFO(file.path());
    std::vector<std::string> warnings;
    const auto spec =
        make_cluster_spec(content(file.path()), file.path(), {.storage_account_name = "account"}, warnings);
    REQUIRE((spec ? "" : spec.error().message) == std::string());
    for (const std::string& warning : warnings) CHECK_THAT(warning, Contains("imageReference"));
    ++count;
  }
  CHECK(count >= 2);
}

TEST_CASE("every field of a cluster file arrives") {
  std::vector<std::string> warnings;
  const auto spec = make_cluster_spec(R"({"$schema": "x", "properties": {
    "vmSize": "Standard_NC6", "vmPriority": "LowPriority",
    "scaleSettings": {"autoScale": {"minimumNodeCount": 1, "maximumNodeCount": 4, "initialNodeCount": 2,
                                    "idleTimeBeforeScaleDown": "PT90S"}},
    "userAccountSettings": {"adminUserName": "ann", "adminUserSshPublicKey": "ssh-rsa A"},
    "nodeSetup": {
      "setupTask": {"commandLine": "install", "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT/afs", "timeLimit": "PT2M",
                    "environmentVariables": [{"name": "A", "value": ""}]},
      "mountVolumes": {
        "azureFileShares": [{"azureFileUrl": "https://a.file.core.windows.net/s", "relativeMountPath": "afs",
                             "credentials": {"accountKey": "secret"}, "fileMode": "0700", "directoryMode": "0755"}],
        "azureBlobFileSystems": [{"accountName": "a", "containerName": "c", "relativeMountPath": "bfs",
                                  "mountOptions": "-o allow_other"}],
        "fileServers": [], "unmanagedFileSystems": []}}}})",
                                      "cluster.json", {}, warnings);
  REQUIRE((spec ? "" : spec.error().message) == std::string());
  CHECK(warnings.empty());
  CHECK(spec->vm_priority() == v1::VM_PRIORITY_LOWPRIORITY);
  CHECK(spec->auto_scale().minimum_node_count() == 1);
  CHECK(spec->auto_scale().maximum_node_count() == 4);
  CHECK(spec->auto_scale().initial_node_count() == 2);
  CHECK(spec->auto_scale().idle_time_before_scale_down().seconds() == 90);
  const v1::SetupTask& task = spec->node_setup().setup_task();
  CHECK(task.command_line() == "install");
  CHECK(task.std_out_err_path_prefix() == "$AZ_BATCHAI_MOUNT_ROOT/afs");
  CHECK(task.time_limit().seconds() == 120);
  CHECK(task.environment_variables(0).name() == "A");
  CHECK(spec->node_setup().azure_file_shares(0).directory_mode() == "0755");
  CHECK(spec->node_setup().azure_blob_file_systems(0).container_name() == "c");
  CHECK(spec->node_setup().azure_file_shares(0).account_key() == "secret");
}

TEST_CASE("what has no meaning on-prem and what is unknown is ignored with a warning that names it") {
  std::vector<std::string> warnings;
  const auto spec = make_cluster_spec(
      R"({"location": "eastus", "properties": {"vmSize": "s", "colour": "red", "subnet": {"id": "x"},
          "scaleSettings": {"manual": {"targetNodeCount": 1}}, "userAccountSettings": {"adminUserPassword": "p4ss"},
          "virtualMachineConfiguration": {"imageReference": {"publisher": "Canonical", "offer": "o", "sku": "s"}},
          "nodeSetup": {"setupTask": {"commandLine": "c", "stdOutErrPathPrefix": "p", "runElevated": true},
                        "performanceCountersSettings": {"appInsightsReference": {}}}}})",
      "cluster.json", {}, warnings);
  REQUIRE((spec ? "" : spec.error().message) == std::string());
  std::string all;
  for (const std::string& warning : warnings) all += warning + "\n";
  for (const char* named : {"location: ignored: only a workspace has it", "properties.colour: ignored",
                            "properties.subnet: ignored", "properties.userAccountSettings.adminUserPassword: ignored",
                            "properties.virtualMachineConfiguration.imageReference.publisher: ignored",
                            "properties.nodeSetup.setupTask.runElevated: ignored",
                            "properties.nodeSetup.performanceCountersSettings: ignored: there is no Application "
                            "Insights on-prem; counters of "
                            "every node are always kept, see `trainyard node counters`"}) {
    CHECK_THAT(all, Contains(named));
  }
  CHECK(all.find("p4ss") == std::string::npos);
}

TEST_CASE("what is wrong or not carried out is refused by its path") {
  CHECK_THAT(message(""), Catch::StartsWith("no VM size"));
  CHECK_THAT(message("", {.vm_size = "s"}), Catch::StartsWith("no scale settings"));
  CHECK_THAT(message(setup_with(R"(, "secrets": [{"name": "a", "valueSecretReference": {}}])")),
             Catch::StartsWith("not supported yet: properties.nodeSetup.setupTask.secrets[0].valueSecretReference: "));
  CHECK(message(setup_with(R"(, "timeLimit": "soon")"))
            .find("properties.nodeSetup.setupTask.timeLimit: must be a "
                  "duration") == 0);
  CHECK(message(cluster_with(R"(, "nodeSetup": {"setupTask": {"commandLine": "c"}})")) ==
        "properties.nodeSetup.setupTask.stdOutErrPathPrefix: is missing");
  const std::pair<const char*, const char*> missing[] = {{"fileServers", "fileServer"},
                                                         {"unmanagedFileSystems", "mountCommand"}};
  for (const auto& [array, field] : missing) {
    CHECK(message(cluster_with(R"(, "nodeSetup": {"mountVolumes": {")" + std::string(array) + R"(": [{}]}})")) ==
          "properties.nodeSetup.mountVolumes." + std::string(array) + "[0]." + field + ": is missing");
  }
  CHECK_THAT(
      message(cluster_with(R"(, "virtualMachineConfiguration": {"imageReference": {"virtualMachineImageId": "i"}})")),
      Contains("properties.virtualMachineConfiguration.imageReference.virtualMachineImageId: the nodes' system"));
  CHECK(message(R"({"properties": {"vmSize": "s", "scaleSettings": {"manual": {"targetNodeCount": 1},
                    "autoScale": {"minimumNodeCount": 0, "maximumNodeCount": 1}}}})") ==
        "properties.scaleSettings: has manual and autoScale: give one of them");
  CHECK(message(cluster_with(R"(, "vmPriority": "spot")")) ==
        "properties.vmPriority: must be one of dedicated, lowpriority, got \"spot\"");
  CHECK_THAT(message(cluster_with(R"(, "nodeSetup": {"mountVolumes": {"azureFileShares": [{"azureFileUrl":
                     "https://<AZURE_BATCHAI_STORAGE_ACCOUNT>.file.core.windows.net/s", "relativeMountPath": "x"}]}})")),
             Contains("azureFileShares[0].azureFileUrl: contains <AZURE_BATCHAI_STORAGE_ACCOUNT>: give "
                      "--storage-account-name"));
}

TEST_CASE("the flags of cluster create become settings as in Batch AI") {
  std::vector<std::string> warnings;
  const auto made = [&](ClusterFlags flags) {
    flags.vm_size = "s";
    return make_cluster_spec("", "", flags, warnings);
  };
  CHECK(made({.target = 3})->target_node_count() == 3);
  const auto automatic = made({.target = 1, .minimum = 0, .maximum = 4, .idle_seconds = 30});
  CHECK_FALSE(automatic->target_node_count() != 0);
  CHECK(automatic->auto_scale().maximum_node_count() == 4);
  CHECK(automatic->auto_scale().initial_node_count() == 1);
  CHECK(automatic->auto_scale().idle_time_before_scale_down().seconds() == 30);
  const auto fixed = made({.minimum = 2, .maximum = 2});
  CHECK_FALSE(fixed->has_auto_scale());
  CHECK(fixed->target_node_count() == 2);
  const auto mounted = made({.target = 1,
                             .setup_task = "c",
                             .setup_task_output = "o",
                             .storage_account_name = "a",
                             .afs_name = "s",
                             .bfs_name = "b"});
  REQUIRE(mounted.ok());
  CHECK(mounted->node_setup().setup_task().command_line() == "c");
  CHECK(mounted->node_setup().azure_file_shares(0).azure_file_url() == "https://a.file.core.windows.net/s");
  CHECK(mounted->node_setup().azure_file_shares(0).relative_mount_path() == "afs");
  CHECK(mounted->node_setup().azure_blob_file_systems(0).relative_mount_path() == "bfs");
  CHECK(made({.vm_priority = "LowPriority", .target = 1})->vm_priority() == v1::VM_PRIORITY_LOWPRIORITY);

  CHECK(made({.minimum = 1}).error().message == "--min and --max: give both or none");
  CHECK(made({.minimum = 3, .maximum = 2}).error().message == "--max: must be at least --min");
  CHECK(made({.target = -1}).error().message == "--target: must be at least 0");
  CHECK(made({.target = 1, .idle_seconds = 5}).error().message ==
        "--idle-seconds-before-scaledown: needs --min and --max");
  CHECK(made({.target = 1, .setup_task = "c"}).error().message ==
        "--setup-task and --setup-task-output: give both or none");
  CHECK_THAT(made({.target = 1, .afs_name = "s"}).error().message, Contains("give --storage-account-name too"));
  CHECK_THAT(made({.vm_priority = "cheap", .target = 1}).error().message, Contains("must be dedicated or lowpriority"));
  CHECK(is_image_alias("ubuntults"));
  CHECK(is_image_alias("Canonical:UbuntuServer:16.04-LTS:latest"));
  CHECK_FALSE(is_image_alias("windows"));
  CHECK_FALSE(is_image_alias("a:b::c"));
}
