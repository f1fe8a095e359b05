// A table per model: every field with a value that is taken and comes back as it was given, what stands there when
// nothing was given, and each kind of bad value with what is said of it. A field of the API without a row fails. Values
// are protobuf's text form, added to the least that the model takes. Also the rows that models share. Of tests only.
#pragma once

#include <google/protobuf/descriptor.h>
#include <google/protobuf/text_format.h>

#include <catch2/catch.hpp>
#include <set>

#include "proto/cluster_convert.h"
#include "proto/job_convert.h"

namespace trainyard::test {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::TextFormat;

struct Bad {
  std::string value, message;  // which begins so
};

struct Row {
  std::string field;       // "recovery.lease"
  std::string accepted;    // the field in its place: "recovery { lease { seconds: 5 } }"
  std::string by_default;  // what comes back without it; "-": there is nothing, or it must be given
  std::vector<Bad> bad;
  std::string least = {};       // another least than the model's
  std::string without = {};     // of a field within a list: the entry without it
  std::string comes_back = {};  // where not as given
};

using Rows = std::vector<Row>;

inline std::string quoted(std::size_t size) {
  return "'" + std::string(size, 'x') + "'";
}

template <class Model>
Model parsed(const std::string& text) {
  Model model;
  INFO(text.substr(0, 500));
  REQUIRE(TextFormat::MergeFromString(text, &model));
  return model;
}

// The field as text, of a list's last entry; "" where there is none.
inline std::string printed(const Message& message, const std::string& path) {
  const auto dot = path.find('.');
  const FieldDescriptor* field = message.GetDescriptor()->FindFieldByName(path.substr(0, dot));
  REQUIRE(field != nullptr);
  const auto* access = message.GetReflection();
  const int size = field->is_repeated() ? access->FieldSize(message, field) : -1;
  if (size == 0 || (size < 0 && field->has_presence() && !access->HasField(message, field))) return "";
  if (dot != path.npos) {
    const Message& inner =
        size < 0 ? access->GetMessage(message, field) : access->GetRepeatedMessage(message, field, size - 1);
    return printed(inner, path.substr(dot + 1));
  }
  TextFormat::Printer printer;
  printer.SetSingleLineMode(true);
  std::string text;
  printer.PrintFieldValueToString(message, field, size < 0 ? -1 : size - 1, &text);
  return text;
}

// Every field that is no message, and durations, which are one value.
inline void collect(const google::protobuf::Descriptor* of, const std::string& prefix, std::set<std::string>& all) {
  for (int at = 0; at < of->field_count(); ++at) {
    const FieldDescriptor* field = of->field(at);
    const std::string path = prefix + field->name();
    const bool inner = field->type() == FieldDescriptor::TYPE_MESSAGE &&
                       field->message_type()->full_name() != "google.protobuf.Duration";
    if (inner) {
      collect(field->message_type(), path + ".", all);
    } else {
      all.insert(path);
    }
  }
}

inline Result<v1::JobSpec> there_and_back(const v1::JobSpec& message) {
  const auto job = from_proto(message, {"g", "w"});
  if (!job) return job.error();
  v1::JobSpec back;
  to_proto(job->spec, job->cluster.group + "/" + job->cluster.workspace + "/" + job->cluster.cluster, back);
  for (const core::DependsOn& one : job->dependencies) {
    const std::string name = one.experiment.empty() ? one.job : one.experiment + "/" + one.job;
    to_proto(core::Dependency{name, {}, one.after, false, {one.array ? 1ULL : 0ULL}}, *back.add_dependencies());
  }
  return back;
}

inline Result<v1::ClusterSpec> there_and_back(const v1::ClusterSpec& message) {
  const auto spec = from_proto(message, {"g", "w"});
  if (!spec) return spec.error();
  v1::ClusterSpec back;
  to_proto(*spec, back);
  return back;
}

template <class Model>
std::string error_of(const std::string& text) {
  const auto back = there_and_back(parsed<Model>(text));
  return back ? "taken" : back.error().message;
}

template <class Model>
void check_row(const Row& row, const std::string& model_least) {
  const std::string least = row.least.empty() ? model_least : row.least;
  INFO(row.field);
  const Model given = parsed<Model>(least + row.accepted);
  const auto back = there_and_back(given);
  REQUIRE((back ? "" : back.error().message) == std::string());
  CHECK(printed(*back, row.field) == (row.comes_back.empty() ? printed(given, row.field) : row.comes_back));
  if (row.by_default != "-") {
    const auto plain = there_and_back(parsed<Model>(least + row.without));
    REQUIRE((plain ? "" : plain.error().message) == std::string());
    CHECK(printed(*plain, row.field) == row.by_default);
  }
  for (const Bad& bad : row.bad) {
    INFO(bad.value.substr(0, 200));
    CHECK_THAT(error_of<Model>(least + bad.value), Catch::StartsWith(bad.message));
  }
}

template <class Model>
void check_model(const std::vector<Rows>& tables, const std::string& least) {
  std::set<std::string> missing;
  collect(Model::descriptor(), "", missing);
  for (const Rows& rows : tables) {
    for (const Row& row : rows) {
      check_row<Model>(row, least);
      missing.erase(row.field);
    }
  }
  for (const std::string& field : missing) {
    INFO("no row in the table for " << field);
    CHECK(false);
  }
}

// A list of more than 1,000 entries is refused.
inline std::string many(const std::string& entry) {
  std::string text;
  for (int n = 0; n < 1001; ++n) text += entry + " ";
  return text;
}

// Of jobs and of set-up tasks. `open` and `close`: what is around the list; `at`: its path for the user.
inline Rows variables(const std::string& open, const std::string& close, const std::string& path,
                      const std::string& at) {
  const auto entry = [&](const std::string& list, const std::string& inner) {
    return open + list + " { " + inner + " }" + close;
  };
  const std::string environment = "environment_variables", secrets = "secrets";
  const std::string names = at + "environmentVariables[0].name", hidden = at + "secrets[0]";
  return {
      {path + "environment_variables.name",
       entry(environment, "name: '_A1' value: 'b'"),
       "-",
       {{entry(environment, "value: 'b'"), names + ": is missing"},
        {entry(environment, "name: '1A'"), names + ": \"1A\" is not a variable's name"},
        {entry(environment, "name: 'A=B'"), names + ": \"A=B\" is not a variable's name"},
        {entry(environment, "name: 'A'") + entry(environment, "name: 'A'"),
         at + "environmentVariables[1].name: \"A\" is given twice"}}},
      {path + "environment_variables.value",
       entry(environment, "name: 'A' value: ''"),
       "-",
       {{entry(environment, "name: 'A' value: 'a\\000'"), at + "environmentVariables[0].value: must not contain NUL"},
        {entry(environment, "name: 'A' value: " + quoted(65537)),
         at + "environmentVariables[0].value: is longer than 65536 bytes"}}},
      {path + "secrets.name",
       entry(secrets, "name: 'TOKEN' value: 's3cret'"),
       "-",
       {{entry(secrets, "value: 's3cret'"), hidden + ".name: is missing"},
        {entry(secrets, "name: 'a b' value: 's3cret'"), hidden + ".name: \"a b\" is not a variable's name"},
        {entry(secrets, "name: 'A' value: 'x'") + entry(secrets, "name: 'A' value: 'y'"),
         at + "secrets[1].name: \"A\" is given twice"},
        {entry(environment, "name: 'A'") + entry(secrets, "name: 'A' value: 'x'"),
         hidden + ".name: \"A\" is in environmentVariables too"},
        {open + many("secrets {}") + close, at + "secrets: has 1001 entries"}}},
      {path + "secrets.value",
       entry(secrets, "name: 'TOKEN' value: 's3cret'"),
       "-",
       {{entry(secrets, "name: 'TOKEN'"), hidden + ".value: of TOKEN is empty: answers never have values"},
        {entry(secrets, "name: 'TOKEN' value: 'a\\000'"), hidden + ".value: must not contain NUL"}},
       {},
       {},
       "\"\""}};  // never returned
}

// ---- Volumes, of jobs and of clusters ----

inline Rows shares(const std::string& open, const std::string& close, const std::string& path, const std::string& at) {
  const std::string url = "azure_file_url: 'https://acc.file.core.windows.net/s' ", place = "relative_mount_path: 'm' ";
  const auto entry = [&](const std::string& inner) { return open + "azure_file_shares { " + inner + " }" + close; };
  const std::string here = at + "azureFileShares[0].";
  return {
      {path + "account_name",
       entry(url + place + "account_name: 'acc'"),
       "\"acc\"",
       {{entry(url + place + "account_name: 'other'"),
         here + "accountName: \"other\" is not the account \"acc\" of azureFileUrl"}},
       {},
       entry(url + place)},
      {path + "azure_file_url",
       entry(url + place),
       "-",
       {{entry(place), here + "azureFileUrl: is missing"},
        {entry("azure_file_url: 'nfs://x' " + place), here + "azureFileUrl: \"nfs://x\" must look like https://"},
        {entry("azure_file_url: 'https://<AZURE_BATCHAI_STORAGE_ACCOUNT>.file.core.windows.net/s' " + place),
         here + "azureFileUrl: still holds <AZURE_BATCHAI_STORAGE_ACCOUNT>"}}},
      {path + "relative_mount_path",
       entry(url + place),
       "-",
       {{entry(url), here + "relativeMountPath: is missing"},
        {entry(url + "relative_mount_path: '../m'"), here + "relativeMountPath: \"../m\" must not contain \"..\""},
        {entry(url + "relative_mount_path: '/m'"), here + "relativeMountPath: \"/m\" must be relative"},
        {entry(url + place) + entry(url + "relative_mount_path: 'm/n'"),
         at + "azureFileShares[1].relativeMountPath: \"m/n\" overlaps with the mount at \"m\""}}},
      {path + "file_mode",
       entry(url + place + "file_mode: '0700'"),
       "\"0777\"",
       {{entry(url + place + "file_mode: '0888'"), here + "fileMode: \"0888\" is not a mode like \"0777\""}},
       {},
       entry(url + place)},
      {path + "directory_mode",
       entry(url + place + "directory_mode: '755'"),
       "\"0777\"",
       {{entry(url + place + "directory_mode: 'rwx'"), here + "directoryMode: \"rwx\" is not a mode like \"0777\""}},
       {},
       entry(url + place)},
      {path + "account_key",
       entry(url + place + "account_key: 'k3y'"),
       "\"\"",
       {{entry(url + place + "account_key: 'a\\000'"), here + "credentials.accountKey: must not contain NUL"},
        {entry(url + place + "account_key: 'a\\nuser = root'"), here + "credentials.accountKey: must be one line"}},
       {},
       entry(url + place),
       "\"\""}};  // never returned
}

inline Rows containers(const std::string& open, const std::string& close, const std::string& path,
                       const std::string& at) {
  const std::string account = "account_name: 'acc' ", name = "container_name: 'c' ",
                    place = "relative_mount_path: 'm' ";
  const auto entry = [&](const std::string& inner) {
    return open + "azure_blob_file_systems { " + inner + " }" + close;
  };
  const std::string here = at + "azureBlobFileSystems[0].";
  return {{path + "account_name",
           entry(account + name + place),
           "-",
           {{entry(name + place), here + "accountName: is missing"},
            {entry("account_name: 'a b' " + name + place), here + "accountName: \"a b\" is not a name"}}},
          {path + "container_name",
           entry(account + name + place),
           "-",
           {{entry(account + place), here + "containerName: is missing"},
            {entry(account + "container_name: 'a/b' " + place), here + "containerName: \"a/b\" is not a name"}}},
          {path + "relative_mount_path",
           entry(account + name + place),
           "-",
           {{entry(account + name), here + "relativeMountPath: is missing"},
            {entry(account + name + place) + entry(account + name + place),
             at + "azureBlobFileSystems[1].relativeMountPath: \"m\" overlaps with the mount at \"m\""}}},
          {path + "mount_options",
           entry(account + name + place + "mount_options: '-o x'"),
           "\"\"",
           {{entry(account + name + place + "mount_options: 'a\\000'"), here + "mountOptions: must not contain NUL"}},
           {},
           entry(account + name + place)},
          {path + "account_key",
           entry(account + name + place + "account_key: 'k3y'"),
           "\"\"",
           {{entry(account + name + place + "account_key: 'a\\000'"),
             here + "credentials.accountKey: must not contain NUL"}},
           {},
           entry(account + name + place),
           "\"\""}};
}

// File servers, and users' own mount commands.
inline Rows other_mounts(const std::string& open, const std::string& close, const std::string& path,
                         const std::string& at) {
  const std::string server = "file_server: 'g/w/nfs' ", place = "relative_mount_path: 'm' ",
                    command = "mount_command: 'mount -t x h:/v' ";
  const auto served = [&](const std::string& inner) { return open + "file_servers { " + inner + " }" + close; };
  const auto own = [&](const std::string& inner) { return open + "unmanaged_file_systems { " + inner + " }" + close; };
  const std::string here = at + "fileServers[0].", mine = at + "unmanagedFileSystems[0].";
  return {{path + "file_servers.file_server",
           served(server + place),
           "-",
           {{served(place), here + "fileServer.id: is missing"},
            {served("file_server: 'a/b' " + place), here + "fileServer.id: \"a/b\" is not a file server"}},
           {},
           {},
           "\"/subscriptions/trainyard/resourceGroups/g/providers/Microsoft.BatchAI/workspaces/w/fileservers/nfs\""},
          {path + "file_servers.relative_mount_path",
           served(server + place),
           "-",
           {{served(server), here + "relativeMountPath: is missing"},
            {served(server + place) + served(server + place),
             at + "fileServers[1].relativeMountPath: \"m\" overlaps with the mount at \"m\""}}},
          {path + "file_servers.source_directory",
           served(server + place + "source_directory: 'sets/a'"),
           "\"\"",
           {{served(server + place + "source_directory: '../a'"),
             here + "sourceDirectory: \"../a\" must not contain \"..\""}},
           {},
           served(server + place)},
          {path + "file_servers.mount_options",
           served(server + place + "mount_options: 'ro,vers=4.2'"),
           "\"\"",
           {{served(server + place + "mount_options: 'ro -o suid'"), here + "mountOptions: must be options of NFS"}},
           {},
           served(server + place)},
          {path + "unmanaged_file_systems.mount_command",
           own(command + place),
           "-",
           {{own(place), mine + "mountCommand: is missing"},
            {own("mount_command: " + quoted(16385) + " " + place), mine + "mountCommand: must be at most 16384"}}},
          {path + "unmanaged_file_systems.relative_mount_path",
           own(command + place),
           "-",
           {{own(command), mine + "relativeMountPath: is missing"},
            {own(command + place) + own(command + "relative_mount_path: 'm/n'"),
             at + "unmanagedFileSystems[1].relativeMountPath: \"m/n\" overlaps with the mount at \"m\""}}}};
}

}  // namespace trainyard::test
