#define CATCH_CONFIG_MAIN
#include "proto/convert.h"

#include <catch2/catch.hpp>
#include <functional>

#include "controller/config.h"
#include "proto/agent_convert.h"

using namespace trainyard;

namespace {

const core::WorkspaceRef kHome{"batchai.horovod", "batchaidev"};

v1::JobSpec tutorial_job() {
  v1::JobSpec spec;
  spec.set_cluster("nc6cluster");
  spec.set_node_count(4);
  spec.set_toolkit(v1::TOOLKIT_HOROVOD);
  spec.set_python_script_file_path("$AZ_BATCHAI_JOB_MOUNT_ROOT/myshare/cifar/train.py");
  spec.set_command_line_args("--dir=$AZ_BATCHAI_JOB_MOUNT_ROOT/myshare/cifar");
  spec.set_std_out_err_path_prefix("$AZ_BATCHAI_JOB_MOUNT_ROOT/myshare/cifar");
  auto& share = *spec.add_azure_file_shares();
  share.set_azure_file_url("https://mystorageaccount.file.core.windows.net/myshare");
  share.set_relative_mount_path("myshare");
  spec.set_image("tensorflow/tensorflow:1.8.0-gpu");
  return spec;
}

std::string error_of(const v1::JobSpec& spec) {
  const auto job = from_proto(spec, kHome);
  return job ? "" : job.error().message;
}

}  // namespace

TEST_CASE("the tutorial's job converts with Batch AI's defaults") {
  const auto job = from_proto(tutorial_job(), kHome);
  REQUIRE(job.ok());
  CHECK(job->cluster.cluster == "nc6cluster");
  CHECK(job->cluster.workspace == "batchaidev");
  CHECK(job->spec.node_count == 4);
  CHECK(job->spec.file_shares.at(0).account_name == "mystorageaccount");
  CHECK(job->spec.file_shares.at(0).share == "myshare");
  CHECK(job->spec.file_shares.at(0).file_mode == "0777");
  CHECK(job->spec.max_wall_clock_ms == 7LL * 24 * 3600 * 1000);
  CHECK(job->spec.recovery == Recovery{});
}

TEST_CASE("a job shown and submitted again is the same job") {
  auto message = tutorial_job();
  message.mutable_recovery()->set_lease_forever(true);
  message.mutable_recovery()->mutable_grace()->set_seconds(3);
  auto& output = *message.add_output_directories();
  output.set_id("MODEL");
  output.set_path_prefix("$AZ_BATCHAI_JOB_MOUNT_ROOT/myshare");
  const auto first = from_proto(message, kHome);
  REQUIRE(first.ok());
  CHECK(first->spec.recovery.lease_ms == kForever);
  v1::JobSpec shown;
  to_proto(first->spec, "batchai.horovod/batchaidev/nc6cluster", shown);
  CHECK(shown.cluster() ==
        "/subscriptions/trainyard/resourceGroups/batchai.horovod/providers/Microsoft.BatchAI/workspaces/batchaidev/"
        "clusters/nc6cluster");
  const auto second = from_proto(shown, {"other", "place"});
  REQUIRE(second.ok());
  CHECK(second->spec == first->spec);
  CHECK(second->cluster.group == "batchai.horovod");
}

TEST_CASE("one bad input, one clear error that names the field") {
  auto spec = tutorial_job();
  SECTION("no nodes") {
    spec.set_node_count(0);
    CHECK(error_of(spec) == "properties.nodeCount: must be at least 1, got 0");
  }
  SECTION("negative nodes") {
    spec.set_node_count(-1);
    CHECK(error_of(spec) == "properties.nodeCount: must be at least 1, got -1");
  }
  SECTION("too many nodes") {
    spec.set_node_count(10'001);
    CHECK(error_of(spec) == "properties.nodeCount: must be at most 10000, got 10001");
  }
  SECTION("a field of another toolkit") {
    spec.set_command_line("true");
    CHECK(error_of(spec) == "properties.horovodSettings.commandLine: is no field of this toolkit");
  }
  SECTION("no toolkit") {
    spec.set_toolkit(v1::TOOLKIT_UNSPECIFIED);
    CHECK(error_of(spec).starts_with("properties: names no toolkit"));
  }
  SECTION("processes of a command that is not MPI's") {
    spec = {};
    spec.set_cluster("c");
    spec.set_node_count(1);
    spec.set_toolkit(v1::TOOLKIT_CUSTOM);
    spec.set_command_line("true");
    spec.set_process_count(4);
    spec.set_std_out_err_path_prefix("/tmp");
    CHECK(error_of(spec) == "properties.customToolkitSettings.processCount: is no field of this toolkit");
  }
  SECTION("the script is missing") {
    spec.clear_python_script_file_path();
    CHECK(error_of(spec) == "properties.horovodSettings.pythonScriptFilePath: is missing");
  }
  SECTION("the placeholder of the account is still there") {
    spec.mutable_azure_file_shares(0)->set_azure_file_url(
        "https://<AZURE_BATCHAI_STORAGE_ACCOUNT>.file.core.windows.net/myshare");
    CHECK(error_of(spec).find("--storage-account-name") != std::string::npos);
  }
  SECTION("another account than the url's") {
    spec.mutable_azure_file_shares(0)->set_account_name("other");
    CHECK(
        error_of(spec) ==
        "properties.mountVolumes.azureFileShares[0].accountName: \"other\" is not the account \"mystorageaccount\" of "
        "azureFileUrl");
  }
  SECTION("urls that are none") {
    for (const char* url : {"", "http://a.file.core.windows.net/s", "https://a.blob.core.windows.net/s",
                            "https://a.file.core.windows.net/", "https://a.file.core.windows.net/s/t",
                            "https://.file.core.windows.net/s", "https://a/../b.file.core.windows.net/s"}) {
      spec.mutable_azure_file_shares(0)->set_azure_file_url(url);
      CHECK(error_of(spec).starts_with("properties.mountVolumes.azureFileShares[0].azureFileUrl: "));
    }
  }
  SECTION("mount paths that leave the root") {
    for (const char* path : {"", "..", "a/../b", "/abs"}) {
      spec.mutable_azure_file_shares(0)->set_relative_mount_path(path);
      CHECK(error_of(spec).starts_with("properties.mountVolumes.azureFileShares[0].relativeMountPath: "));
    }
  }
}

TEST_CASE("one bad name or value, one clear error that names the field") {
  auto spec = tutorial_job();
  SECTION("a cluster that is no name") {
    spec.set_cluster("a/b");
    CHECK(error_of(spec).starts_with("properties.cluster: "));
  }
  SECTION("a variable without a name") {
    spec.add_environment_variables()->set_value("x");
    CHECK(error_of(spec) == "properties.environmentVariables[0].name: is missing");
  }
  SECTION("NUL in a text") {
    spec.set_command_line_args(std::string("a\0b", 3));
    CHECK(error_of(spec) == "properties.horovodSettings.commandLineArgs: must not contain NUL");
  }
  SECTION("a lease both ways") {
    spec.mutable_recovery()->set_lease_forever(true);
    spec.mutable_recovery()->mutable_lease()->set_seconds(1);
    CHECK(error_of(spec).starts_with("properties.recovery.lease: "));
  }
}

TEST_CASE("names") {
  CHECK(check_name("name", "cifar_distributed-1").ok());
  CHECK(check_name("name", std::string(64, 'a')).ok());
  for (const std::string& bad : {std::string(), std::string(65, 'a'), std::string("a b"), std::string("a.b"),
                                 std::string("a/b"), std::string("a\nb"), std::string("\xc3\xa4")}) {
    CHECK_FALSE(check_name("name", bad).ok());
  }
  CHECK(check_group_name("name", "batchai.horovod").ok());
  CHECK_FALSE(check_group_name("name", "..").ok());
}

TEST_CASE("a group's and a workspace's location and tags: what is taken, and each bad value with its field") {
  using Tags = google::protobuf::Map<std::string, std::string>;
  CHECK(check_location("").ok());
  CHECK(check_location(std::string(64, 'x')).ok());
  CHECK(check_location(std::string(65, 'x')).error().message == "location: is longer than 64 characters");
  CHECK(check_location(std::string("a\0", 2)).error().message == "location: must not contain NUL");
  const auto error_of_tags = [](const std::string& name, const std::string& value) {
    Tags tags;
    tags[name] = value;
    const auto read = tags_from_proto(tags);
    return read ? std::string() : read.error().message;
  };
  CHECK(error_of_tags("team", "").empty());
  CHECK(error_of_tags(std::string(512, 'x'), std::string(256, 'y')).empty());
  CHECK(error_of_tags("", "x") == "tags: a tag has no name");
  CHECK(error_of_tags(std::string(513, 'x'), "") == "tags: is longer than 512 characters");
  CHECK(error_of_tags("team", std::string(257, 'y')) == "tags.team: is longer than 256 characters");
  CHECK(error_of_tags("team", std::string("a\0", 2)) == "tags.team: must not contain NUL");
  Tags many;
  for (int n = 0; n < 50; ++n) many["t" + std::to_string(n)] = "x";
  CHECK(tags_from_proto(many)->size() == 50);
  many["one more"] = "x";
  CHECK(tags_from_proto(many).error().message == "tags: has 51 entries; at most 50 are allowed");
}

namespace {

v1::ClusterSpec good_cluster() {
  v1::ClusterSpec spec;
  spec.set_vm_size("Standard_NC6");
  spec.set_vm_priority(v1::VM_PRIORITY_LOWPRIORITY);
  auto& scale = *spec.mutable_auto_scale();
  scale.set_minimum_node_count(1);
  scale.set_maximum_node_count(4);
  scale.set_initial_node_count(2);
  scale.mutable_idle_time_before_scale_down()->set_seconds(30);
  auto& task = *spec.mutable_node_setup()->mutable_setup_task();
  task.set_command_line("install");
  task.set_std_out_err_path_prefix("$AZ_BATCHAI_MOUNT_ROOT/afs");
  task.mutable_time_limit()->set_seconds(60);
  auto& variable = *task.add_environment_variables();
  variable.set_name("A");
  variable.set_value("b");
  auto& share = *spec.mutable_node_setup()->add_azure_file_shares();
  share.set_azure_file_url("https://acc.file.core.windows.net/s");
  share.set_relative_mount_path("afs");
  auto& container = *spec.mutable_node_setup()->add_azure_blob_file_systems();
  container.set_account_name("acc");
  container.set_container_name("c");
  container.set_relative_mount_path("bfs");
  return spec;
}

std::string cluster_error(const std::function<void(v1::ClusterSpec&)>& spoil) {
  v1::ClusterSpec spec = good_cluster();
  spoil(spec);
  const auto converted = from_proto(spec, kHome);
  return converted ? "" : converted.error().message;
}

}  // namespace

TEST_CASE("a cluster shown and created again is the same cluster") {
  const auto spec = from_proto(good_cluster(), kHome);
  REQUIRE((spec ? "" : spec.error().message) == std::string());
  CHECK(spec->vm_priority == core::VmPriority::low_priority);
  CHECK(spec->auto_scale == core::AutoScale{1, 4, 2, 30'000});
  CHECK(spec->node_setup.task.time_limit_ms == 60'000);
  CHECK(spec->node_setup.file_shares.at(0).account_name == "acc");
  v1::ClusterSpec shown;
  to_proto(*spec, shown);
  CHECK(*from_proto(shown, kHome) == *spec);
  v1::ClusterSpec plain;
  plain.set_vm_size("s");
  CHECK(from_proto(plain, kHome)->node_setup == NodeSetup{});
  v1::ClusterSpec defaults = good_cluster();
  defaults.mutable_auto_scale()->clear_idle_time_before_scale_down();
  defaults.mutable_node_setup()->mutable_setup_task()->clear_time_limit();
  CHECK(from_proto(defaults, kHome)->auto_scale->idle_before_scale_down_ms == 5 * 60'000);
  CHECK(from_proto(defaults, kHome)->node_setup.task.time_limit_ms == 60 * 60'000);
}

TEST_CASE("each mistake in a cluster is said with its field") {
  const auto scale = [](v1::ClusterSpec& spec) -> v1::AutoScaleSettings& { return *spec.mutable_auto_scale(); };
  const auto task = [](v1::ClusterSpec& spec) -> v1::SetupTask& {
    return *spec.mutable_node_setup()->mutable_setup_task();
  };
  const auto container = [](v1::ClusterSpec& spec) -> v1::AzureBlobFileSystem& {
    return *spec.mutable_node_setup()->mutable_azure_blob_file_systems(0);
  };
  const std::pair<const char*, std::function<void(v1::ClusterSpec&)>> mistakes[] = {
      {"properties.vmSize: ", [&](auto& spec) { spec.clear_vm_size(); }},
      {"properties.vmPriority: ", [&](auto& spec) { spec.set_vm_priority(v1::VmPriority(9)); }},
      {"properties.scaleSettings: has manual and autoScale", [&](auto& spec) { spec.set_target_node_count(1); }},
      {"properties.scaleSettings.manual.targetNodeCount: ", [&](auto& spec) { spec.set_target_node_count(-1); }},
      {"properties.scaleSettings.autoScale.minimumNodeCount: is 5",
       [&](auto& spec) { scale(spec).set_minimum_node_count(5); }},
      {"properties.scaleSettings.autoScale.maximumNodeCount: ",
       [&](auto& spec) { scale(spec).set_maximum_node_count(10'001); }},
      {"properties.scaleSettings.autoScale.initialNodeCount: is 9",
       [&](auto& spec) { scale(spec).set_initial_node_count(9); }},
      {"properties.scaleSettings.autoScale.idleTimeBeforeScaleDown: ",
       [&](auto& spec) { scale(spec).mutable_idle_time_before_scale_down()->set_seconds(0); }},
      {"properties.nodeSetup.setupTask.commandLine: is missing", [&](auto& spec) { task(spec).clear_command_line(); }},
      {"properties.nodeSetup.setupTask.stdOutErrPathPrefix: is missing",
       [&](auto& spec) { task(spec).clear_std_out_err_path_prefix(); }},
      {"properties.nodeSetup.setupTask.stdOutErrPathSuffix: is read-only",
       [&](auto& spec) { task(spec).set_std_out_err_path_suffix("x"); }},
      {"properties.nodeSetup.setupTask.timeLimit: ",
       [&](auto& spec) { task(spec).mutable_time_limit()->set_seconds(-1); }},
      {"properties.nodeSetup.setupTask.environmentVariables[0].name: ",
       [&](auto& spec) { task(spec).mutable_environment_variables(0)->set_name("a b"); }},
      {"properties.nodeSetup.mountVolumes.azureFileShares[0].azureFileUrl: ",
       [&](auto& spec) { spec.mutable_node_setup()->mutable_azure_file_shares(0)->set_azure_file_url("nfs://x"); }},
      {"properties.nodeSetup.mountVolumes.azureBlobFileSystems[0].containerName: ",
       [&](auto& spec) { container(spec).set_container_name("a/b"); }},
      {"properties.nodeSetup.mountVolumes.azureBlobFileSystems[0].relativeMountPath: \"afs/x\" overlaps",
       [&](auto& spec) { container(spec).set_relative_mount_path("afs/x"); }},
      {"properties.nodeSetup.mountVolumes.azureBlobFileSystems[0].relativeMountPath: ",
       [&](auto& spec) { container(spec).set_relative_mount_path("../x"); }},
  };
  CHECK(cluster_error([](auto&) {}).empty());
  for (const auto& [begins, spoil] : mistakes) {
    INFO(begins);
    CHECK_THAT(cluster_error(spoil), Catch::StartsWith(begins));
  }
}

TEST_CASE("reports and orders survive the wire") {
  Report report;
  report.node_name = "node1";
  report.epoch = "boot-1";
  report.store_generation = "g";
  report.orders_revision = 7;
  report.sequence = 9;
  report.inventory = {"STANDARD_NC6", "gpu", "10.0.0.1", "10.0.0.0/24", 4, 1 << 30, {{"GPU-1", "K80", 12, true}},
                      "0.1"};
  HoldingReport holding{{JobId{5}, 2}, HoldingState::failed, 137};
  holding.error = {"JobFailed", "bad \xff bytes", {{"Node", "node1"}}, true};
  report.holdings.push_back(holding);
  report.setup = SetupReport{40, SetupState::failed, {"SetupTaskFailed", "exited", {{"exitCode", "3"}}, false}};
  report.inventory.file_server_software = "nfs-ganesha 4.3";
  report.file_servers = {{8, FileServerState::serving, "10.0.0.5", "/srv/8/data", "", 2050},
                         {9, FileServerState::failed, "", "", "no room", 0}};
  v1::Report message;
  to_proto(report, message);
  std::string wire;
  REQUIRE(message.SerializeToString(&wire));
  v1::Report received;
  REQUIRE(received.ParseFromString(wire));
  const auto back = from_proto(received);
  REQUIRE(back.ok());
  holding.error.message = "bad ? bytes";
  CHECK(back->inventory == report.inventory);
  CHECK(back->holdings.at(0) == holding);
  CHECK(back->orders_revision == 7);
  CHECK(back->setup == report.setup);
  CHECK(back->file_servers == report.file_servers);

  auto launch = std::make_shared<Launch>();
  launch->job_name = "j";
  launch->members = {{"node1", "10.0.0.1"}};
  Orders orders{"g", "boot-1", 8, "g/w/c", {{{JobId{5}, 2}, HoldingPhase::run, 0, {"GPU-1"}, 1000, 0, 0, launch}}};
  const ClusterSetup setup{"g/w/c", "suffix", {{"install", {{"A", "b"}}, "p", 5}, {}, {}}, {{{}, "/srv", "afs"}}};
  orders.setup = SetupOrder{40, std::make_shared<const ClusterSetup>(setup)};
  orders.file_servers = {{8, "g/w/nfs", 20ULL << 30, false}, {9, "g/w/old", 1, true}};
  v1::Orders orders_message;
  to_proto(orders, orders_message);
  const auto orders_back = from_proto(orders_message);
  REQUIRE(orders_back.ok());
  REQUIRE(orders_back->holdings.size() == 1);
  CHECK(*orders_back->holdings[0].launch == *launch);
  CHECK(orders_back->holdings[0].phase == HoldingPhase::run);
  REQUIRE(orders_back->setup.has_value());
  CHECK(orders_back->setup->run == 40);
  CHECK(*orders_back->setup->setup == setup);
  CHECK(orders_back->file_servers == orders.file_servers);

  orders_message.mutable_holdings(0)->set_member(1);
  CHECK_FALSE(from_proto(orders_message).ok());
  message.mutable_file_servers(0)->set_state("sleeping");
  CHECK(from_proto(message).error().message == "report: unknown file server state \"sleeping\"");
  message.mutable_holdings(0)->set_state("dancing");
  CHECK_FALSE(from_proto(message).ok());
}

// ---- Configuration ----

using namespace trainyard::controller;

TEST_CASE("images: the operator's map, full names, mirrors") {
  const auto config = parse_config(R"({"images":[{"image":"a/b:1","run":"host"},
    {"image":"tf","run":"container","pull":"r.example/tf:9","interpreter":"/opt/python"}],
    "image_mirrors":[{"prefix":"docker.io/","replace":"10.0.0.1:5000/docker/"}]})");
  REQUIRE(config.ok());
  const auto image = [&](const std::string& name, const std::string& server = "") {
    const auto mapping = mapping_of(*config, name, server);
    return mapping ? mapping->container_image : mapping.error().message;
  };
  CHECK(image("a/b:1").empty());
  CHECK(image("tf") == "r.example/tf:9");
  CHECK(mapping_of(*config, "tf", "")->python_interpreter == "/opt/python");
  CHECK(image("ubuntu") == "10.0.0.1:5000/docker/library/ubuntu:latest");
  CHECK(image("a/b:2") == "10.0.0.1:5000/docker/a/b:2");
  CHECK(image("a/b:2", "https://r.azurecr.io/") == "r.azurecr.io/a/b:2");
  CHECK(image("r2.example/a/b@sha256:12", "r.azurecr.io") == "r2.example/a/b@sha256:12");
  CHECK(image("localhost/a") == "localhost/a:latest");
  CHECK(image("a b").find("is not the name of an image") != std::string::npos);
  CHECK(image("-x").find("is not the name of an image") != std::string::npos);
  const auto strict = parse_config(R"({"unmapped_images":"refuse"})");
  REQUIRE(strict.ok());
  CHECK(mapping_of(*strict, "A/b:1", "").error().message ==
        "image A/b:1 runs only where the operator maps it: add {\"image\":\"A/b:1\",\"run\":\"host\"} or "
        "{\"image\":\"A/b:1\",\"run\":\"container\"} to \"images\" in the controller's configuration");
}

TEST_CASE("configuration: what it says, and each mistake with its key") {
  const auto config = parse_config(R"({"listen":"127.0.0.1:0","storage":[{"account":"special","local":"/data/special"},
    {"account":"*","local":"/srv/trainyard/"}],"images":[{"image":"a/b:1","run":"host","preparation":""}],
    "pools":{"gpu":{"fence_command":["/bin/true"]}},"timing":{"unreachable_after_ms":1000}})");
  REQUIRE(config.ok());
  CHECK(place_of(*config, "special").value() == "/data/special");
  CHECK(place_of(*config, "other").value() == "/srv/trainyard/other");
  CHECK(mapping_of(*config, "a/b:1", "")->preparation == "");
  CHECK(mapping_of(*config, "a/b:1", "")->container_image.empty());
  CHECK(mapping_of(*config, "", "").ok());
  CHECK(config->timing.unreachable_after_ms == 1000);
  CHECK(config->timing.pools_with_fence_command == std::vector<std::string>{"gpu"});
  for (const auto& [text, where] : std::map<std::string, std::string>{
           {"{", "configuration: is not JSON"},
           {R"({"listen":"x"})", "configuration: listen: "},
           {R"({"storage":[{"account":"*"}]})",
            "configuration: storage[0]: needs one of local, nfs, smb, s3 and azure_blob"},
           {R"({"images":[{"image":"a","run":"docker"}]})", "configuration: images[0].run: "},
           {R"({"timing":{"kill_time_ms":0}})", "configuration: timing.kill_time_ms: "},
           {R"({"tls":{"key":"k"}})", "configuration: tls: "},
           {R"({"listen":7})", "configuration: listen: "}}) {
    const auto bad = parse_config(text);
    REQUIRE_FALSE(bad.ok());
    CHECK(bad.error().message.starts_with(where));
  }
}

TEST_CASE("whom jobs run as: the most exact entry holds, and users of the system need the operator's word") {
  const auto config = parse_config(R"({"listen":"127.0.0.1:0","users":[{"workspace":"*","uid":30000},
    {"workspace":"g/*","uid":30001},{"workspace":"g/w","uid":30002,"gid":100,"groups":[44]}]})");
  REQUIRE(config.ok());
  CHECK(user_of(*config, "G", "W") == RunAs{30'002, 100, {44}});
  CHECK(user_of(*config, "g", "other") == RunAs{30'001, 30'001, {}});
  CHECK(user_of(*config, "h", "w") == RunAs{30'000, 30'000, {}});
  CHECK_FALSE(user_of(Config(), "g", "w").has_value());
  const auto refused = [](const std::string& entry) {
    const auto bad = parse_config(R"({"listen":"127.0.0.1:0","users":[)" + entry + "]}");
    REQUIRE_FALSE(bad.ok());
    return bad.error().message;
  };
  CHECK(refused(R"({"workspace":"*","uid":999})") ==
        "configuration: users[0].uid: 999 is a user of the system (below 1000): set \"allow_system_users\": true to "
        "allow it");
  CHECK(refused(R"({"workspace":"*","uid":2000,"gid":0})").starts_with("configuration: users[0].gid: 0 is root's"));
  CHECK(refused(R"({"workspace":"*","uid":2000,"groups":[0]})").starts_with("configuration: users[0].groups: 0 is"));
  CHECK(refused(R"({"workspace":"w","uid":2000})").starts_with("configuration: users[0].workspace: must be"));
  CHECK(refused(R"({"workspace":"*"})").starts_with("configuration: users[0].uid: must be a user id"));
  const auto root =
      parse_config(R"({"listen":"127.0.0.1:0","allow_system_users":true,"users":[{"workspace":"*","uid":0}]})");
  REQUIRE(root.ok());
  CHECK(user_of(*root, "g", "w") == RunAs{});
}

TEST_CASE("an address that others can reach needs TLS or the word for a lab") {
  Config config;
  for (const char* listen : {"127.0.0.1:1", "[::1]:1", "localhost:0"}) {
    config.listen = listen;
    CHECK(check_security(config).ok());
  }
  for (const char* listen : {"0.0.0.0:1", "10.0.0.1:7470", "[::]:1", "example.org:1"}) {
    config.listen = listen;
    CHECK_FALSE(check_security(config).ok());
  }
  config.insecure_lab = true;
  CHECK(check_security(config).ok());
}
