#include "controller/edge/job_files.h"

#include <fmt/format.h>

#include "proto/names.h"

namespace trainyard::controller {
namespace {

constexpr std::string_view kMountRoot = "AZ_BATCHAI_JOB_MOUNT_ROOT";

// Takes "$NAME" or "${NAME}" off the front of `text`; empty when there is none.
std::string take_reference(std::string_view& text) {
  if (!text.starts_with("$")) return {};
  const bool braces = text.starts_with("${");
  std::size_t end = braces ? 2 : 1;
  const std::size_t begin = end;
  const auto word = [](char c) {
    return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  while (end < text.size() && word(text[end])) ++end;
  if (end == begin || (braces && (end == text.size() || text[end] != '}'))) return {};
  std::string name(text.substr(begin, end - begin));
  text.remove_prefix(braces ? end + 1 : end);
  return name;
}

// The job's own plain variables are replaced; undefined references become nothing, as on the node. nullopt: a value
// that only a node knows.
std::optional<std::string> expand(const core::Job& job, std::string_view text) {
  std::string out;
  while (!text.empty()) {
    if (text.front() != '$') {
      out += text.front();
      text.remove_prefix(1);
      continue;
    }
    const std::string name = take_reference(text);
    if (name.empty() || name.starts_with("AZ_BATCHAI_")) return std::nullopt;
    for (const NamedValue& variable : job.spec->environment) {
      if (variable.name != name) continue;
      if (variable.value.find('$') != std::string::npos) return std::nullopt;
      out += variable.value;
    }
  }
  return out;
}

Error on_no_share(const core::Job& job, const std::string& prefix) {
  return {Code::failed_precondition,
          fmt::format("the directory \"{}\" of job {} is not on one of its shares, so its files cannot be read from "
                      "here: use a path under $AZ_BATCHAI_JOB_MOUNT_ROOT/<relativeMountPath>",
                      prefix, job.name)};
}

Result<FilePlace> resolve(const core::Job& job, const std::string& prefix, const std::string& below) {
  std::string_view rest = prefix;
  if (take_reference(rest) != kMountRoot || !rest.starts_with("/")) return on_no_share(job, prefix);
  const auto expanded = expand(job, rest);
  if (!expanded) return on_no_share(job, prefix);
  const auto first = expanded->find_first_not_of('/');
  if (first == expanded->npos) return on_no_share(job, prefix);
  const auto path = clean_path("path", std::string_view(*expanded).substr(first), false);
  if (!path) return on_no_share(job, prefix);
  for (const Volume& volume : job.volumes) {
    const std::string& mount = volume.relative_mount_path;
    if (*path != mount && !path->starts_with(mount + "/")) continue;
    FilePlace place{volume, path->substr(std::min(path->size(), mount.size() + 1))};
    if (!place.path.empty()) place.path += '/';
    place.path += job.segment + below;
    return place;
  }
  return on_no_share(job, prefix);
}

}  // namespace

Result<FilePlace> job_directory(const core::Job& job, const std::string& output_id) {
  if (output_id.empty() || output_id == "stdouterr") {
    return resolve(job, job.spec->std_out_err_path_prefix, "/stdouterr");
  }
  for (const OutputDirectory& directory : job.spec->output_directories) {
    if (directory.id != output_id) continue;
    return resolve(job, directory.path_prefix,
                   "/outputs" + (directory.path_suffix.empty() ? "" : "/" + directory.path_suffix));
  }
  return Error{Code::not_found,
               fmt::format("job {} has no output directory \"{}\": give stdouterr or an id of its outputDirectories",
                           job.name, output_id)};
}

}  // namespace trainyard::controller
