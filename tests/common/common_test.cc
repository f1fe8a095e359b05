// Durations, times and the JSON forms that store and spool depend on.
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>

#include "common/cpu_list.h"
#include "common/csv.h"
#include "common/model_json.h"

using namespace trainyard;

TEST_CASE("a duration is read and written back in its shortest form") {
  for (const auto* text : {"P7D", "PT1H", "PT1H30M", "PT1M30S", "P1DT2H", "PT0.250S"}) {
    CHECK(format_duration(parse_duration(text)) == text);
  }
  CHECK(parse_duration("PT90S") == 90'000);
  CHECK(parse_duration("P2W") == 14LL * 24 * 3600 * 1000);
}

TEST_CASE("a duration that means nothing here is refused") {
  for (const auto* text :
       {"", "P", "PT", "7D", "P1M", "P1Y", "PT1D", "P-1D", "PT0S", "P1DT", "PT99999999999999999999S", "P1Dx"}) {
    INFO(text);
    CHECK(parse_duration(text) == -1);
  }
}

TEST_CASE("rows of comma-separated values come back as they were written") {
  const std::vector<std::string> fields{"plain", "", "a,b", "say \"hi\"", "two\r\nlines", ""};
  std::string text;
  for (const std::string& field : fields) text += (text.empty() ? "" : ",") + csv_field(field);
  CHECK(text == "plain,,\"a,b\",\"say \"\"hi\"\"\",\"two\r\nlines\",");
  std::vector<std::string> row;
  std::size_t at = 0;
  REQUIRE(take_csv_row(text + "\r\nnext", at, row));
  CHECK(row == fields);
  CHECK(at == text.size() + 2);
  for (const auto* bad : {"\"", "\"a", "\"a\"b", "x,\"\"\""}) {
    INFO(bad);
    at = 0;
    CHECK_FALSE(take_csv_row(bad, at, row));
  }
}

TEST_CASE("processors are read and written as Linux lists them") {
  for (const auto* text : {"", "0", "0-3", "0-3,64-67", "1,3,5-6"}) CHECK(cpu_list(parse_cpu_list(text)) == text);
  CHECK(cpu_list(parse_cpu_list("3,1-2,2\n")) == "1-3");
  for (const auto* text : {"\n", "x", "3-1", "-1", "1-", "0-99999999999", "0-999999"}) {
    INFO(text);
    CHECK(parse_cpu_list(text).empty());
  }
}

TEST_CASE("a time is shown in UTC with milliseconds") {
  CHECK(iso8601(0).empty());
  CHECK(iso8601(1'528'406'217'114) == "2018-06-07T21:16:57.114Z");
}

namespace {
Launch full_launch() {
  Launch launch{.job_name = "j", .experiment = "e", .workspace = "w", .group = "g", .segment = "s"};
  launch.spec = JobSpec{.node_count = 4,
                        .toolkit = Toolkit::horovod,
                        .command_line = "c",
                        .python_script_file_path = "p",
                        .python_interpreter_path = "i",
                        .command_line_args = "a",
                        .process_count = 8,
                        .std_out_err_path_prefix = "x",
                        .preparation_command_line = "prep",
                        .image = "im",
                        .file_shares = {{"acc", "url", "share", "rel", "0750", "0755"}},
                        .input_directories = {{"I", "/in"}},
                        .output_directories = {{"O", "/out", "suffix"}},
                        .environment = {{"N", "v \"quoted\" \n"}},
                        .max_wall_clock_ms = 5,
                        .priority = Priority::high,
                        .recovery = {OnNodeLoss::fail, 3, RerunAfter::gang_broken, kForever, 7, 8}};
  launch.mapping = {"", "python3"};
  launch.volumes = {{Volume::Kind::local, "/srv", "rel"}};
  launch.members = {{"n1", "10.0.0.1"}, {"n2", "10.0.0.2"}};
  return launch;
}
}  // namespace

TEST_CASE("a launch survives its JSON form with every field") {
  const auto launch = full_launch();
  const auto again = from_json_text<Launch>(to_json_text(launch));
  REQUIRE(again.ok());
  CHECK(*again == launch);
}

TEST_CASE("an absent replacement preparation differs from an empty one") {
  CHECK_FALSE(from_json_text<ImageMapping>(to_json_text(ImageMapping{}))->preparation.has_value());
  CHECK(from_json_text<ImageMapping>(to_json_text(ImageMapping{"", ""}))->preparation == "");
}

TEST_CASE("an unknown name is an error, an unknown key is not") {
  CHECK_FALSE(from_json_text<JobSpec>(R"({"toolkit":"quantum"})").ok());
  CHECK(from_json_text<JobSpec>(R"({"nodeCount":2,"later":true})")->node_count == 2);
  CHECK_FALSE(from_json_text<JobSpec>("{").ok());
}
