// Queries, tables and tab-separated values against golden texts.
#include "cli/output.h"

#include <google/protobuf/util/time_util.h>

#include <catch2/catch.hpp>

#include "cli/client.h"
#include "cli/show.h"

using namespace trainyard;
using namespace trainyard::cli;
using google::protobuf::util::TimeUtil;

namespace {

std::string rendered(const std::string& json, const std::string& format, const std::string& query = "") {
  const auto text = render(Answer{Json::parse(json), Table{}}, Style{format, query});
  return text ? *text : text.error().message;
}

v1::Cluster tutorial_cluster() {
  v1::Cluster cluster;
  cluster.set_resource_group("batchai.horovod");
  cluster.set_workspace("batchaidev");
  cluster.set_name("nc6cluster");
  cluster.mutable_spec()->set_vm_size("STANDARD_NC6");
  cluster.mutable_spec()->set_target_node_count(4);
  cluster.set_allocation_state("steady");
  cluster.set_provisioning_state("succeeded");
  cluster.mutable_node_state_counts()->set_idle_node_count(4);
  return cluster;
}

v1::Job waiting_job() {
  v1::Job job;
  job.set_resource_group("g");
  job.set_workspace("w");
  job.set_experiment("e");
  job.set_name("cifar_2");
  job.set_tool_type("horovod");
  job.set_execution_state("queued");
  job.set_provisioning_state("succeeded");
  job.set_reason("needs 4 idle nodes of nc6cluster; 2 idle, 1 running cifar_1, 1 preparing");
  job.mutable_spec()->set_cluster("nc6cluster");
  job.mutable_spec()->set_node_count(4);
  job.mutable_spec()->set_toolkit(v1::TOOLKIT_HOROVOD);
  job.mutable_spec()->set_python_script_file_path("a.py");
  return job;
}

}  // namespace

TEST_CASE("the tutorial's cluster table") {
  CHECK(
      render_table(show_one(tutorial_cluster()).table) ==
      "Name        Resource Group    Workspace    VM Size       State      Idle    Running    Preparing    Leaving    "
      "Unusable\n"
      "----------  ----------------  -----------  ------------  -------  ------  ---------  -----------  ---------  "
      "----------\n"
      "nc6cluster  batchai.horovod   batchaidev   STANDARD_NC6  steady        4          0            0          0    "
      "       0\n");
}

TEST_CASE("GPU time by cause: hours for people, exact seconds for all else") {
  v1::ReportUsageResponse report;
  v1::UsageRow& row = *report.add_rows();
  row.set_name("g/w, \"old\"");
  *row.mutable_day() = TimeUtil::SecondsToTimestamp(1'795'478'400);  // 2026-11-24
  row.mutable_time()->set_preparing_ms(18'000);
  row.mutable_time()->set_running_ms(9'000'001);
  *report.add_rows() = row;
  report.mutable_rows(1)->set_name("g/x");
  report.mutable_rows(1)->mutable_time()->set_lost_ms(9'018'001);
  report.mutable_total()->set_preparing_ms(36'000);
  report.mutable_total()->set_running_ms(18'000'002);
  report.mutable_total()->set_lost_ms(9'018'001);
  const Answer plain = show_usage_report(report, v1::USAGE_GROUP_BY_WORKSPACE, false);
  CHECK(render_table(plain.table) ==
        "Workspace      Preparing    Running  Idle      Lost    Requeued    Stopping    GPU Hours      %\n"
        "-----------  -----------  ---------  ------  ------  ----------  ----------  -----------  -----\n"
        "g/w, \"old\"          0.01       2.50  -         0.00        0.00        0.00         2.51   33.3\n"
        "g/x                 0.01       2.50  -         2.51        0.00        0.00         5.01   66.7\n"
        "total               0.01       5.00  -         2.51        0.00        0.00         7.52  100.0\n");
  CHECK(*render(plain, {"csv", ""}) ==
        "name,preparing,running,idle,lost,requeued,stopping,total\r\n"
        "\"g/w, \"\"old\"\"\",18.000,9000.001,0.000,0.000,0.000,0.000,9018.001\r\n"
        "g/x,18.000,9000.001,0.000,9018.001,0.000,0.000,18036.002\r\n");
  CHECK(*render(plain, {"tsv", "rows[].[name, total]"}) == "g/w, \"old\"\t9018.001\ng/x\t18036.002\n");
  CHECK(*render(plain, {"json", "[total.running, sampled]"}) == "[\n  18000.002,\n  null\n]\n");
  report.set_sampled_ms(1);
  report.mutable_total()->set_idle_ms(3'600'000);
  const Answer by_day = show_usage_report(report, v1::USAGE_GROUP_BY_USER, true);
  CHECK(by_day.table.columns[0] == "Day");
  CHECK(by_day.table.columns[1] == "User");
  CHECK(by_day.table.rows[0][0] == "2026-11-24");
  CHECK(by_day.table.rows[2][0] == "total");
  CHECK(by_day.table.rows[2][4] == "1.00");
  CHECK(*render(by_day, {"csv", ""}) ==
        "day,name,preparing,running,idle,lost,requeued,stopping,total\r\n"
        "2026-11-24,\"g/w, \"\"old\"\"\",18.000,9000.001,0.000,0.000,0.000,0.000,9018.001\r\n"
        "2026-11-24,g/x,18.000,9000.001,0.000,9018.001,0.000,0.000,18036.002\r\n");
}

TEST_CASE("CSV of any answer") {
  CHECK(rendered(R"([{"b": "a\nb", "a": 1, "c": [1]}, {"a": null, "d": true}])", "csv") ==
        "a,b,d\r\n1,\"a\nb\",\r\n,,True\r\n");
  CHECK(rendered(R"([{"b": "x", "a": 1}])", "csv", "[].{z: b}") == "z\r\nx\r\n");
}

TEST_CASE("node counts as the tutorial asks for them") {
  const auto text = render(show_one(tutorial_cluster()), {"json", "nodeStateCounts"});
  REQUIRE(text.ok());
  CHECK(*text ==
        "{\n  \"idleNodeCount\": 4,\n  \"leavingNodeCount\": 0,\n  \"preparingNodeCount\": 0,\n"
        "  \"runningNodeCount\": 0,\n  \"unusableNodeCount\": 0\n}\n");
  CHECK(*render(show_one(tutorial_cluster()), {"tsv", "nodeStateCounts"}) == "4\t0\t0\t0\t0\n");
}

TEST_CASE("a job's state and why it waits") {
  const Answer answer = show_one(waiting_job());
  CHECK(*render(answer, {"json", "executionState"}) == "\"queued\"\n");
  CHECK(*render(answer, {"tsv", "executionState"}) == "queued\n");
  CHECK(*render(answer, {"table", "executionState"}) == "Result\n--------\nqueued\n");
  CHECK(render_table(answer.table) ==
        "Name     Cluster     Cluster RG    Cluster Workspace    Tool       Nodes  State    Exit code\n"
        "-------  ----------  ------------  -------------------  -------  -------  -------  -----------\n"
        "cifar_2  nc6cluster  g             w                    horovod        4  queued\n");
}

TEST_CASE("a job shows every field of Batch AI, unset ones as null") {
  v1::Job job = waiting_job();
  job.mutable_spec()->set_cluster(
      "/subscriptions/s/resourceGroups/G2/providers/Microsoft.BatchAI/workspaces/W2/clusters/C2");
  Json shown = Kind<v1::Job>::json(job);
  CHECK(shown["constraints"]["maxWallClockTime"] == "7 days, 0:00:00");
  CHECK(shown["executionInfo"].is_null());
  CHECK(shown["pyTorchSettings"].is_null());
  CHECK(shown["horovodSettings"]["pythonScriptFilePath"] == "a.py");
  CHECK(shown["resourceGroup"] == "g");
  CHECK(cluster_of(job).name == "C2");
  CHECK(cluster_of(job).group == "G2");
  CHECK(cluster_of(job).workspace == "W2");
  job.mutable_execution_info()->set_exit_code(2);
  auto* error = job.mutable_execution_info()->add_errors();
  error->set_code("JobFailed");
  error->set_message("Job failed with non-zero exit code");
  shown = Kind<v1::Job>::json(job);
  CHECK(shown["executionInfo"]["exitCode"] == 2);
  CHECK(shown["executionInfo"]["errors"][0]["code"] == "JobFailed");
  CHECK(shown["executionInfo"]["startTime"].is_null());
}

TEST_CASE("what a secret holds is not shown, even if an answer had it") {
  v1::Job job = waiting_job();
  v1::Cluster cluster = tutorial_cluster();
  for (auto* secrets : {job.mutable_spec()->mutable_secrets(),
                        cluster.mutable_spec()->mutable_node_setup()->mutable_setup_task()->mutable_secrets()}) {
    auto* secret = secrets->Add();
    secret->set_name("TOKEN");
    secret->set_value("s3cret");
  }
  const Json shown = Kind<v1::Job>::json(job), set_up = Kind<v1::Cluster>::json(cluster);
  CHECK(shown["secrets"] == Json::parse(R"([{"name": "TOKEN", "value": null}])"));
  CHECK(set_up["nodeSetup"]["setupTask"]["secrets"] == Json::parse(R"([{"name": "TOKEN", "value": null}])"));
}

TEST_CASE("every field of Batch AI's models is shown, unset ones as null") {
  const auto fields = [](const Json& value, std::initializer_list<const char*> names) {
    for (const char* name : names) {
      INFO(name);
      CHECK(value.contains(name));
    }
  };
  v1::Workspace workspace;
  fields(Kind<v1::Workspace>::json(workspace),
         {"id", "name", "type", "location", "tags", "creationTime", "provisioningState",
          "provisioningStateTransitionTime", "resourceGroup"});
  v1::Experiment experiment;
  fields(Kind<v1::Experiment>::json(experiment), {"id", "name", "type", "creationTime", "provisioningState",
                                                  "provisioningStateTransitionTime", "resourceGroup"});
  const Json cluster = Kind<v1::Cluster>::json(tutorial_cluster());
  fields(cluster, {"id", "name", "type", "vmSize", "vmPriority", "scaleSettings", "virtualMachineConfiguration",
                   "nodeSetup", "userAccountSettings", "subnet", "creationTime", "provisioningState",
                   "provisioningStateTransitionTime", "allocationState", "allocationStateTransitionTime", "errors",
                   "currentNodeCount", "nodeStateCounts", "resourceGroup"});
  fields(cluster["scaleSettings"], {"manual", "autoScale"});
  fields(cluster["userAccountSettings"], {"adminUserName", "adminUserPassword", "adminUserSshPublicKey"});
  const Json job = Kind<v1::Job>::json(waiting_job());
  fields(job, {"id",
               "name",
               "type",
               "schedulingPriority",
               "cluster",
               "mountVolumes",
               "nodeCount",
               "containerSettings",
               "toolType",
               "cntkSettings",
               "pyTorchSettings",
               "tensorFlowSettings",
               "caffeSettings",
               "caffe2Settings",
               "chainerSettings",
               "customToolkitSettings",
               "customMpiSettings",
               "horovodSettings",
               "jobPreparation",
               "jobOutputDirectoryPathSegment",
               "stdOutErrPathPrefix",
               "inputDirectories",
               "outputDirectories",
               "environmentVariables",
               "secrets",
               "constraints",
               "creationTime",
               "provisioningState",
               "provisioningStateTransitionTime",
               "executionState",
               "executionStateTransitionTime",
               "executionInfo",
               "resourceGroup"});
  fields(Kind<v1::FileEntry>::json(v1::FileEntry()),
         {"name", "fileType", "downloadUrl", "contentLength", "lastModified"});
}

TEST_CASE("tables have Batch AI's columns") {
  using Columns = std::vector<std::string>;
  CHECK(Kind<v1::Workspace>::columns() == Columns{"Name", "Resource Group", "Location", "State"});
  CHECK(Kind<v1::Cluster>::columns() == Columns{"Name", "Resource Group", "Workspace", "VM Size", "State", "Idle",
                                                "Running", "Preparing", "Leaving", "Unusable"});
  CHECK(Kind<v1::Experiment>::columns() == Columns{"Name", "Resource Group", "Workspace", "State"});
  CHECK(Kind<v1::Job>::columns() ==
        Columns{"Name", "Cluster", "Cluster RG", "Cluster Workspace", "Tool", "Nodes", "State", "Exit code"});
  CHECK(Kind<v1::FileEntry>::columns() == Columns{"Name", "Type", "Size", "Modified"});
  v1::Job job = waiting_job();
  job.set_provisioning_state("deleting");
  CHECK(Kind<v1::Job>::row(job)[6] == "deleting");
}

TEST_CASE("json and yaml in the order of the names, tables and tsv in the order of the query") {
  const std::string data = R"([{"b": 1, "a": {"d": null, "c": [true]}}, {"b": 2, "a": null}])";
  CHECK(rendered(data, "json", "[0]") ==
        "{\n  \"a\": {\n    \"c\": [\n      true\n    ],\n    \"d\": null\n  },\n  \"b\": 1\n}\n");
  CHECK(rendered(data, "jsonc", "[0].b") == "1\n");
  CHECK(rendered(data, "none") == "");
  CHECK(rendered(data, "table", "[].{z: b, y: a.c[0]}") ==
        "  Z  Y\n---  ----\n"
        "  1  True\n"
        "  2\n");
  CHECK(rendered(data, "tsv", "[].{z: b, y: a.c[0]}") == "1\tTrue\n2\tNone\n");
  CHECK(rendered(data, "tsv", "[].[b, a.c]") == "1\t1\n2\tNone\n");
  CHECK(rendered(data, "tsv", "[].b") == "1\n2\n");
  CHECK(rendered(data, "tsv", "[0].a.c[0]") == "true\n");
  CHECK(rendered(data, "tsv", "[0].missing") == "");
  CHECK(rendered(data, "json", "[0].missing") == "null\n");
  CHECK(rendered(data, "table", "[].b") == "  Result\n--------\n       1\n       2\n");
  CHECK(rendered(data, "table", "[].[b, b]") ==
        "  Column1    Column2\n---------  ---------\n        1          1\n        2          2\n");
  CHECK(rendered(data, "table", "[?b>`7`]") == "");
  CHECK_THAT(rendered(data, "table", "length(@, @)"), Catch::StartsWith("--query: invalid-arity"));
}

TEST_CASE("coloured JSON is the same JSON with colours") {
  const Answer answer{Json::parse(R"({"a": ["x", 1, null, {}, []], "b": {"c": true}})"), Table{}};
  const std::string coloured = *render(answer, Style{"jsonc", "", true});
  CHECK_THAT(coloured, Catch::Contains("\x1b[94m\"a\"\x1b[0m: [") && Catch::Contains("\x1b[33m\"x\"\x1b[0m"));
  std::string plain;
  for (std::size_t at = 0; at < coloured.size(); ++at) {
    if (coloured[at] == '\x1b')
      at = coloured.find('m', at);
    else
      plain += coloured[at];
  }
  CHECK(plain == render_json(answer.value));
  CHECK(*render(answer, Style{"jsonc", "", false}) == render_json(answer.value));
}

TEST_CASE("yaml as Azure's command line prints it") {
  CHECK(rendered(R"({"name": "j", "none": null, "n": 4, "f": 2.5, "yes": true, "empty": [], "nothing": {},
                     "list": ["a", {"x": 1, "y": [1, 2]}, [3, [4]]], "in": {"deep": {"er": "b"}}})",
                 "yaml") ==
        "empty: []\nf: 2.5\nin:\n  deep:\n    er: b\nlist:\n- a\n- x: 1\n  y:\n  - 1\n  - 2\n- - 3\n  - - 4\nn: "
        "4\nname: j\n"
        "none: null\nnothing: {}\n'yes': true\n");
  const auto word = [](const std::string& text) { return rendered(Json(text).dump(), "yaml"); };
  for (const char* plain :
       {"queued", "7 days, 0:00:00", "0:00:00", "a:b", "a#b", "-x", "x-", "https://a.file.core.windows.net/s", "0x",
        "1.2.3", "-", "a'b", "a\"b", "10.0.0.1", "grüße", "$AZ_X/y", "1 2"}) {
    const bool dash = std::string(plain) == "-";
    CHECK(word(plain) == (dash ? std::string("'-'\n") : std::string(plain) + "\n...\n"));
  }
  for (const char* quoted : {"",
                             " x",
                             "x ",
                             "true",
                             "No",
                             "null",
                             "~",
                             "12",
                             "-1.5",
                             "1e3x: y",
                             "2018-07-25T17:57:21.000Z",
                             "2018-07-25",
                             "0777",
                             "a: b",
                             "a:",
                             "a #b",
                             "#a",
                             "[a",
                             "{a",
                             "&a",
                             "*a",
                             "!a",
                             "|",
                             ">",
                             "%a",
                             "@a",
                             "`a",
                             ".5",
                             "1_000",
                             "0x1F",
                             "=",
                             "<<",
                             "---",
                             "? a",
                             "- a"}) {
    CHECK(word(quoted) == "'" + std::string(quoted) + "'\n");
  }
  CHECK(word("it's: so") == "'it''s: so'\n");
  CHECK(word("two\nlines\t\x1b[31m\x7f") == "\"two\\nlines\\t\\x1B[31m\\x7F\"\n");
  CHECK(rendered("[]", "yaml") == "[]\n");
  CHECK(rendered("null", "yaml") == "null\n...\n");
  CHECK(rendered("[1]", "yaml", "[0]") == "1\n...\n");
}

TEST_CASE("files in the tutorial's table") {
  google::protobuf::RepeatedPtrField<v1::FileEntry> files;
  v1::FileEntry* file = files.Add();
  file->set_name("stdout.txt");
  file->set_size(15);
  *file->mutable_modified() = TimeUtil::MillisecondsToTimestamp(1532541441000);
  v1::FileEntry* directory = files.Add();
  directory->set_name("attempts");
  directory->set_is_directory(true);
  CHECK(render_table(show_all(files).table) ==
        "Name        Type         Size  Modified\n"
        "----------  ---------  ------  ------------------------\n"
        "stdout.txt  file           15  2018-07-25T17:57:21.000Z\n"
        "attempts    directory\n");
}

TEST_CASE("nothing in a cell breaks a line or commands a terminal") {
  const std::string table = render_table(Table{{"Name"}, {{"a\nb\x1b[31mc"}}});
  CHECK(table == "Name\n---------\na b [31mc\n");
  CHECK(render_tsv(Json::parse(R"([["a\tb", null, [1, 2], {"x": 1}, 2.5, true]])")) == "a b\tNone\t2\t\t2.5\tTrue\n");
  CHECK(render_tsv(nullptr) == "");
  CHECK(render_table(show_all(google::protobuf::RepeatedPtrField<v1::Job>()).table) == "");
}

TEST_CASE("addresses become targets without name resolution where possible") {
  CHECK(target_of("127.0.0.1:7470") == "ipv4:127.0.0.1:7470");
  CHECK(target_of("10.0.0.1") == "ipv4:10.0.0.1:7470");
  CHECK(target_of("[::1]:99") == "ipv6:[::1]:99");
  CHECK(target_of("::1") == "ipv6:[::1]:7470");
  CHECK(target_of("head.example:1") == "dns:///head.example:1");
  CHECK(target_of("unix:/run/x") == "unix:/run/x");
  CHECK(new_request_id().size() == 36);
  CHECK(new_request_id() != new_request_id());
}
