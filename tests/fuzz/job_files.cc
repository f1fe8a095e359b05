// fuzz_job_files [--clusters] [--inputs N] [--seed S] FILE...: job files (or cluster files) made from the given ones by
// breaking them, read as the command line and the controller's translator read them, then checked as the API checks
// them. Built with AddressSanitizer and UBSan. Fails on a crash, on an input that takes seconds, and on an error that
// names nothing.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>

#include "batchai/cluster_file.h"
#include "batchai/job_file.h"
#include "proto/cluster_convert.h"
#include "proto/job_convert.h"

namespace {

using namespace trainyard;
using nlohmann::json;
using Random = std::mt19937_64;

std::size_t below(Random& random, std::size_t limit) {
  return limit == 0 ? 0 : random() % limit;
}

// Values that a reader must take for what they are, wherever they stand.
json odd_value(Random& random) {
  const json values[] = {nullptr,
                         true,
                         0,
                         -1,
                         1e308,
                         9223372036854775807LL,
                         18446744073709551615ULL,
                         "",
                         "../../etc/passwd",
                         std::string("a\0b", 3),
                         std::string(70'000, 'x'),
                         "$(reboot)`$HOME`\n'\"",
                         "PT1H",
                         "99999999999.99:99:99",
                         "P9999999999Y",
                         "\xf0\x9f\x9a\x82",
                         json::array(),
                         json::object(),
                         json::array({json::array({json::object()})}),
                         {{"id", "x"}, {"value", json::object()}}};
  return values[below(random, std::size(values))];
}

void collect(json& value, std::vector<json*>& all) {
  all.push_back(&value);
  if (!value.is_structured()) return;
  for (auto& item : value) collect(item, all);
}

// Changes the tree: a value, a name, a copy of a part at another place.
void break_tree(json& root, Random& random) {
  std::vector<json*> all;
  collect(root, all);
  json& victim = *all[below(random, all.size())];
  switch (below(random, 4)) {
    case 0:
      victim = odd_value(random);
      return;
    case 1:
      victim = json(*all[below(random, all.size())]);
      return;
    case 2:
      if (victim.is_array()) victim.insert(victim.end(), below(random, 3), odd_value(random));
      if (victim.is_object() && !victim.empty()) {
        auto entry = victim.begin();
        std::advance(entry, below(random, victim.size()));
        json moved = *entry;
        std::string name = entry.key();
        if (!name.empty()) name[below(random, name.size())] = static_cast<char>('A' + below(random, 58));
        victim.erase(entry);
        victim[name] = std::move(moved);
      }
      return;
    default:
      if (victim.is_object() && !victim.empty()) {
        auto entry = victim.begin();
        std::advance(entry, below(random, victim.size()));
        victim.erase(entry);
      }
  }
}

constexpr const char* kPieces[] = {"\"\\ud800\"", "/*", "1e999", "\xff\xfe", "\"a\":"};

// Changes the text: bytes, cuts, repeats, depth.
void break_text(std::string& text, Random& random) {
  for (std::size_t n = below(random, 3); n > 0 && !text.empty(); --n) {
    const std::size_t at = below(random, text.size()),
                      size = below(random, std::min<std::size_t>(64, text.size() - at));
    switch (below(random, 5)) {
      case 0:
        text[at] = static_cast<char>(random());
        break;
      case 1:
        text.erase(at, size);
        break;
      case 2:
        text.insert(below(random, text.size()), text.substr(at, size));
        break;
      case 3:
        text.insert(at, std::string(below(random, 500), "[{\"\\"[below(random, 4)]));
        break;
      default:
        text.insert(at, kPieces[below(random, std::size(kPieces))]);
    }
  }
}

std::string broken(const std::vector<std::string>& seeds, Random& random) {
  std::string text = seeds[below(random, seeds.size())];
  if (below(random, 4) != 0) {
    json root = json::parse(text, nullptr, false, true);
    if (!root.is_discarded()) {
      for (std::size_t n = 1 + below(random, 3); n > 0; --n) break_tree(root, random);
      text = root.dump(-1, ' ', false, json::error_handler_t::replace);
    }
  }
  if (below(random, 3) == 0) break_text(text, random);
  return text;
}

struct Counts {
  std::uint64_t taken = 0, refused_by_reader = 0, refused_by_api = 0;
};

bool names_any(const std::string& complaint, std::initializer_list<const char*> words) {
  return std::any_of(words.begin(), words.end(),
                     [&](const char* word) { return complaint.find(word) != complaint.npos; });
}

// What was read, and what the API says to it. Empty: as it should be. Otherwise what is wrong.
template <class Spec, class Check>
std::string fault_in(const Result<Spec>& spec, Check check, Counts& counts) {
  if (!spec) {
    ++counts.refused_by_reader;
    const std::string& complaint = spec.error().message;
    const bool named = names_any(complaint, {"properties", "job.json", "cluster"});
    return named ? "" : "an error that names nothing: " + complaint;
  }
  if (const auto checked = check(*spec); !checked) {
    ++counts.refused_by_api;
    const std::string& complaint = checked.error().message;
    return names_any(complaint, {"properties"}) ? "" : "an error that names no field: " + complaint;
  }
  ++counts.taken;
  return "";
}

std::string fault_of(const std::string& text, bool clusters, Counts& counts) {
  std::vector<std::string> warnings;
  const auto begin = std::chrono::steady_clock::now();
  std::string fault;
  if (clusters) {
    batchai::ClusterFlags flags;
    flags.storage_account_name = "account";
    fault = fault_in(
        batchai::make_cluster_spec(text, "cluster.json", flags, warnings),
        [](const v1::ClusterSpec& spec) {
          return from_proto(spec, {"group", "workspace"});
        },
        counts);
  } else {
    fault = fault_in(
        batchai::read_job_file(text, {"job.json", "nc6", "account"}, warnings),
        [](const v1::JobSpec& spec) {
          return from_proto(spec, {"group", "workspace"});
        },
        counts);
  }
  if (!fault.empty()) return fault;
  for (const std::string& warning : warnings) {
    if (warning.find(':') == warning.npos) return "a warning that names nothing: " + warning;
  }
  const auto took = std::chrono::steady_clock::now() - begin;
  if (took > std::chrono::seconds(5)) return "it took more than five seconds";
  return "";
}

}  // namespace

int main(int argc, char** argv) {
  std::uint64_t inputs = 100'000, seed = 1;
  std::vector<std::string> files;
  bool clusters = false;
  CLI::App app("Job files and cluster files, broken in every way");
  app.add_flag("--clusters", clusters, "The files are cluster files");
  app.add_option("--inputs", inputs)->capture_default_str();
  app.add_option("--seed", seed)->capture_default_str();
  app.add_option("FILE", files, "Files to begin with")->required();
  CLI11_PARSE(app, argc, argv);
  std::vector<std::string> seeds;
  for (const std::string& file : files) {
    std::ifstream in(file);
    seeds.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
    if (!in || seeds.back().empty()) return fmt::print(stderr, "cannot read {}\n", file), 2;
  }
  Random random(seed);
  Counts counts;
  for (std::uint64_t n = 0; n < inputs; ++n) {
    const std::string text = broken(seeds, random);
    if (const std::string fault = fault_of(text, clusters, counts); !fault.empty()) {
      fmt::print(stderr, "input {} of seed {}: {}\n{}\n", n, seed, fault, text.substr(0, 4'000));
      return 1;
    }
  }
  fmt::print("{} inputs of {} {} files, seed {}: {} taken, {} refused by the reader, {} by the API, each naming why\n",
             inputs, seeds.size(), clusters ? "cluster" : "job", seed, counts.taken, counts.refused_by_reader,
             counts.refused_by_api);
  // A fuzzer that only makes rubbish tests nothing behind the parser.
  const bool covered = inputs < 1'000 || (counts.taken > inputs / 50 && counts.refused_by_api > inputs / 200);
  if (!covered) fmt::print(stderr, "too few inputs came as far as the API's checks\n");
  return covered ? 0 : 1;
}
