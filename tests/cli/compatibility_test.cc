// docs/batch-ai-compatibility.md against the program: all that Batch AI had (tests/support/batchai/surface.json) has a
// row, and what the row says is what happens. The environment variables are in tests/exec.
#include <google/protobuf/descriptor.h>

#include <catch2/catch.hpp>
#include <cctype>
#include <sstream>

#include "batchai/cluster_file.h"
#include "batchai/job_file.h"
#include "cli/file_server_file.h"
#include "cli/program.h"
#include "cli/show.h"
#include "tests/cli/run_program.h"
#include "tests/support/batchai/page.h"
#include "trainyard/v1/exec.pb.h"

using namespace trainyard;
using namespace trainyard::batchai;
using namespace trainyard::cli;
using namespace trainyard::test;
using cli::test::Folder;
using cli::test::have_program;
using cli::test::Ran;
using nlohmann::json;

namespace {

constexpr const char* kCommands = "Commands and flags";

std::string sections_of_fields(const std::string& kind) {
  return "Fields of " + kind + "s";
}

// The one row; a second one would be a second opinion.
const PageRow* only_row(const std::string& section, const std::string& name) {
  const auto rows = rows_with(section, 0, name);
  INFO(section << ": " << name << ": " << rows.size() << " rows on the page");
  REQUIRE(rows.size() == 1);
  return rows[0];
}

const PageRow* flag_row(const std::string& command, const std::string& flag) {
  const PageRow* found = nullptr;
  for (const PageRow* row : rows_with(kCommands, 0, command)) {
    if (!row->has(1, flag)) continue;
    CHECK(found == nullptr);
    found = row;
  }
  INFO(command << " " << flag << " has no row on the page");
  REQUIRE(found != nullptr);
  return found;
}

// ---- Operations ----

bool is_rpc(const std::string& name) {
  // Naming a message keeps its file in the program.
  static const google::protobuf::Descriptor* const kept[] = {
      v1::Group::descriptor(), v1::Workspace::descriptor(), v1::Experiment::descriptor(), v1::Cluster::descriptor(),
      v1::Job::descriptor(),   v1::Node::descriptor(),      v1::FileServer::descriptor(), v1::Usage::descriptor(),
      v1::Share::descriptor(), v1::ExecNode::descriptor()};
  REQUIRE(kept[0] != nullptr);
  return google::protobuf::DescriptorPool::generated_pool()->FindMethodByName("trainyard.v1." + name) != nullptr;
}

}  // namespace

TEST_CASE("every row of the compatibility page says what becomes of it") {
  CHECK(page().size() > 100);
  for (const PageRow& row : page()) {
    INFO(row.section << ": " << row.line);
    CHECK(row.verdict != Verdict::none);
  }
}

TEST_CASE("each of Batch AI's operations is on the compatibility page with the call that serves it") {
  CHECK(surface()["operations"].size() == 29);
  for (const std::string name : surface()["operations"]) {
    CHECK_FALSE(only_row("Operations", name)->names[1].empty());
  }
  int calls = 0;
  for (const PageRow& row : page()) {
    if (row.section != "Operations") continue;
    for (const std::string& call : row.names[1]) {
      INFO(call << " is no call of the API");
      CHECK(is_rpc(call));
      ++calls;
    }
  }
  CHECK(calls > 29);
  CHECK_FALSE(is_rpc("Jobs.NoSuchCall"));
}

// ---- Commands and flags ----

namespace {

struct Files {
  Folder folder;
  Files() {
    write("cluster.json", {{"properties", surface()["fields"]["cluster"]["base"]}});
    write("job.json", {{"properties", surface()["fields"]["job"]["base"]}});
    write("file_server.json", {{"properties", {{"vmSize", "s"}}}});
  }
  void write(const std::string& name, const json& content) const { std::ofstream(folder / name) << content; }

  // "{job_file}" in a line is this one's path.
  std::string with_paths(std::string line) const {
    for (const char* name : {"cluster", "job", "file_server"}) {
      const std::string mark = std::string("{") + name + "_file}";
      const auto at = line.find(mark);
      if (at != std::string::npos) line.replace(at, mark.size(), folder / (std::string(name) + ".json"));
    }
    return line;
  }
};

std::string words(const json& option, const std::string& name) {
  std::string text = " " + name;
  if (option.contains("value") && !option["value"].is_null()) text += " '" + option["value"].get<std::string>() + "'";
  return text;
}

// A whole command line that uses `name` of `option`.
std::string line_with(const json& command, const json& option, const std::string& name) {
  std::string line = command["command"].get<std::string>() + words(option, name);
  for (const json& needed : command["required"]) {
    if (needed["names"] != option["names"]) line += words(needed, needed["names"][0]);
  }
  const std::string more = command.value("more", "");
  const bool confirms = more == "-y" && (name == "-y" || name == "--yes");
  if (!confirms) line += " " + option.value("with", more);
  return line;
}

// With nobody at the controller's address, a line that is in order ends with "cannot be reached".
void check_taken(const std::string& line, const Ran& ran) {
  INFO(line << "\n" << ran.text);
  CHECK(ran.code == kUnreachable);
  CHECK(ran.text.find("not supported yet") == std::string::npos);
}

std::string help_of_flag(const std::string& help, const std::string& long_name) {
  const auto own = help.find("  " + long_name), at = own == std::string::npos ? help.find("," + long_name) : own;
  const auto next = help.find("\n  -", at + 1);
  return at == std::string::npos ? "" : help.substr(at, next == std::string::npos ? next : next - at);
}

// What has no effect says so: in the answer, or in --help.
bool says_no_effect(const std::string& text, const std::string& help) {
  for (const char* word : {"no effect", "No effect", "without effect", "Accepted", "ept and shown"}) {
    if (text.find(word) != std::string::npos || help.find(word) != std::string::npos) return true;
  }
  return false;
}

void check_flag(const Files& files, const json& command, const json& option, const std::string& name,
                const std::string& help) {
  const std::string line = files.with_paths(line_with(command, option, name));
  const PageRow* row = flag_row(command["command"], name);
  const Ran ran = cli::test::run(line + " --retry-for 0");
  INFO(row->line);
  if (row->verdict == Verdict::refused) {
    INFO(line << "\n" << ran.text);
    CHECK(ran.code == kUsage);
    const std::string refused = "not supported yet: ";
    const auto at = ran.text.find(refused);
    REQUIRE(at != std::string::npos);
    CHECK(row->has(1, ran.text.substr(at + refused.size(), ran.text.find('\n', at) - at - refused.size())));
    return;
  }
  check_taken(line, ran);
  const bool silent = ran.text.find("no effect") == std::string::npos;
  INFO(line << "\n" << ran.text);
  if (row->verdict == Verdict::works) CHECK(silent);
  if (row->verdict == Verdict::no_effect) CHECK(says_no_effect(ran.text, help_of_flag(help, option["names"].back())));
  for (const char* secret : {"p4ss", "k3y"}) CHECK(ran.text.find(secret) == std::string::npos);
}

std::set<std::string> flags_in(const std::string& text) {
  const std::regex flag("--[a-z][a-z-]+");
  return {std::sregex_token_iterator(text.begin(), text.end(), flag), std::sregex_token_iterator()};
}

}  // namespace

TEST_CASE("every flag of az batchai, in every spelling, does what the compatibility page says") {
  if (!have_program()) return;
  const Files files;
  CHECK(surface()["commands"].size() > 30);
  for (const json& command : surface()["commands"]) {
    const std::string help = cli::test::run(command["command"].get<std::string>() + " --help").text;
    for (const char* part : {"required", "optional"}) {
      for (const json& option : command[part]) {
        for (const std::string name : option["names"]) check_flag(files, command, option, name, help);
      }
    }
  }
}

TEST_CASE("every flag that a command of Batch AI has here is on the compatibility page") {
  if (!have_program()) return;
  const std::set<std::string> common = flags_in(cli::test::run("node list --help").text);
  int checked = 0;
  for (const json& command : surface()["commands"]) {
    const std::string name = command["command"];
    const std::string help = cli::test::run(name + " --help").text;
    REQUIRE(help.find("Options:") != std::string::npos);
    for (const std::string& flag : flags_in(help.substr(0, help.find("Example:")))) {
      // In the text of another flag: "with --min and --max".
      if (help_of_flag(help, flag).empty() || common.contains(flag)) continue;
      flag_row(name, flag);
      ++checked;
    }
  }
  CHECK(checked > 110);
}

TEST_CASE("command lines of the older module are taken") {
  if (!have_program()) return;
  const Files files;
  for (const json& old : surface()["older command lines"]) {
    const std::string line = files.with_paths(old["line"]);
    check_taken(line, cli::test::run(line + " --retry-for 0"));
  }
}

TEST_CASE("flags without effect say so, and what they hold goes nowhere") {
  if (!have_program()) return;
  const std::string text = cli::test::run(
                               "cluster create -g g -w w -n c -s x -t 1 -p 'p4ss' -i UbuntuLTS --subnet s "
                               "--storage-account-key k3y --retry-for 0")
                               .text;
  for (const char* flag : {"--password has no effect", "--image has no effect", "--subnet has no effect"}) {
    CHECK_THAT(text, Catch::Contains(flag));
  }
  CHECK(text.find("p4ss") == std::string::npos);
  CHECK(text.find("k3y") == std::string::npos);
  CHECK_THAT(cli::test::run("cluster create -g g -w w -n c -s x -t 1 -i windows").text,
             Catch::Contains("--image: must be UbuntuLTS, UbuntuDSVM or publisher:offer:sku:version"));
}

// ---- Fields of files ----

namespace {

struct ReadBack {
  std::string error, spec;
  std::vector<std::string> warnings;
};

ReadBack read_as(const std::string& kind, const json& document) {
  ReadBack back;
  const auto take = [&](const auto& read) {
    if (read) {
      back.spec = read->SerializeAsString();
    } else {
      back.error = read.error().message;
    }
  };
  if (kind == "cluster") {
    take(make_cluster_spec(document.dump(), "cluster.json", {}, back.warnings));
  } else if (kind == "file server") {
    take(make_file_server_spec(document.dump(), "nfs.json", {}, back.warnings));
  } else {
    take(read_job_file(document.dump(), {"job.json", "", ""}, back.warnings));
  }
  return back;
}

// "a.b[].c" as a JSON pointer to the first of b.
json::json_pointer pointer_to(const std::string& path) {
  std::string pointer = "/" + std::regex_replace(path, std::regex("\\[\\]"), ".0");
  for (char& each : pointer) each = each == '.' ? '/' : each;
  return json::json_pointer(pointer);
}

bool warned_of(const ReadBack& back, const std::string& path) {
  // A whole object may be ignored at once: "properties.subnet" for subnet.id.
  for (const std::string& warning : back.warnings) {
    const std::string at = warning.substr(0, warning.find(':'));
    const std::string plain = std::regex_replace(at, std::regex("\\[0\\]"), "[]");
    const std::string named = plain.starts_with("properties.") ? plain.substr(11) : plain;
    if (path.starts_with(named)) return true;
  }
  return false;
}

// A good file with the field in it, and the place of the field.
json document_with(const json& base, const json& field, json::json_pointer& place) {
  json document = {{"properties", base}};
  document["properties"].merge_patch(field["put"]);
  const bool at_top = field.contains("top");
  if (at_top) document.merge_patch(field["top"]);
  place = at_top ? pointer_to(field["path"]) : pointer_to("properties." + field["path"].get<std::string>());
  return document;
}

void check_input(const std::string& kind, const json& base, const json& field) {
  const std::string path = field["path"];
  const PageRow* row = only_row(sections_of_fields(kind), path);
  json::json_pointer place;
  json document = document_with(base, field, place);
  INFO(kind << ": " << path << "\n" << row->line);
  REQUIRE(document.contains(place));
  const ReadBack back = read_as(kind, document);
  INFO(back.error);
  if (row->verdict == Verdict::refused) {
    CHECK_THAT(back.error, Catch::StartsWith("not supported yet: properties."));
    const auto named = back.error.substr(30, back.error.find(": ", 30) - 30);
    CHECK(path.starts_with(std::regex_replace(named, std::regex("\\[0\\]"), "[]")));
    return;
  }
  CHECK(back.error.empty());
  if (row->verdict == Verdict::works) {
    CHECK_FALSE(warned_of(back, path));
    document.at(place.parent_pointer()).erase(place.back());
    const ReadBack without = read_as(kind, document);
    CHECK((!without.error.empty() || without.spec != back.spec));  // it is read
  }
  // Keys go to the controller where the page says that they are kept there.
  const bool kept = row->line.find("kept encrypted") != std::string::npos;
  for (const char* secret : {"p4ss", "k3y"}) CHECK((kept || back.spec.find(secret) == std::string::npos));
}

}  // namespace

TEST_CASE("every field of Batch AI's cluster, job and file server files is read as the compatibility page says") {
  int checked = 0;
  for (const char* kind : {"cluster", "job", "file server"}) {
    const json& model = surface()["fields"][kind];
    for (const char* list : {"input", "older"}) {
      for (const json& field : model[list]) {
        check_input(kind, model["base"], field);
        ++checked;
      }
    }
  }
  CHECK(checked > 140);
  for (const json& field : surface()["fields"]["workspace"]["input"]) {
    only_row(sections_of_fields("workspace"), field["path"]);
  }
}

// ---- Fields of answers ----

namespace {

void fill(v1::Job& job) {
  job.mutable_execution_info()->add_errors()->set_code("JobFailed");
}
void fill(v1::Cluster& cluster) {
  cluster.mutable_spec()->mutable_node_setup()->mutable_setup_task()->set_command_line("true");
}
void fill(v1::FileServer& server) {
  server.set_file_server_internal_ip("10.0.0.4");  // mountSettings is null until it serves
}
template <class Message>
void fill(Message&) {}

// Lower-cased keys: Azure's command line wrote diskSizeInGb where the wire had diskSizeInGB.
json lower_keys(const Json& value) {
  if (!value.is_object()) return json::parse(value.dump());
  json out = json::object();
  for (const auto& [key, inner] : value.items()) {
    std::string lower = key;
    for (char& each : lower) each = static_cast<char>(std::tolower(static_cast<unsigned char>(each)));
    out[lower] = lower_keys(inner);
  }
  return out;
}

template <class Message>
void check_answer(const std::string& kind) {
  Message message;
  fill(message);
  const json shown = lower_keys(show_one(message).value);
  for (const std::string path : surface()["fields"][kind]["output"]) {
    INFO(kind << ": " << path << " in " << shown.dump());
    only_row(sections_of_fields(kind), path);
    std::string lower = path;
    for (char& each : lower) each = static_cast<char>(std::tolower(static_cast<unsigned char>(each)));
    CHECK(shown.contains(pointer_to(lower)));
  }
}

}  // namespace

TEST_CASE("every field of Batch AI's answers has a row on the compatibility page, and is in the answer") {
  check_answer<v1::Workspace>("workspace");
  check_answer<v1::Experiment>("experiment");
  check_answer<v1::Cluster>("cluster");
  check_answer<v1::Job>("job");
  check_answer<v1::FileServer>("file server");
  check_answer<v1::FileEntry>("file");
  check_answer<v1::Usage>("usage");
}

TEST_CASE("every environment variable of Batch AI has a row on the compatibility page") {
  CHECK(surface()["variables"].size() == 25);
  for (const std::string name : surface()["variables"]) only_row("Environment variables", name);
}
