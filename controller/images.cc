// What a job's image means here: the operator's map, then a full name, then the operator's mirrors.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "controller/config.h"

namespace trainyard::controller {
namespace {

using nlohmann::json;

// "https://r.azurecr.io/" -> "r.azurecr.io"
std::string host_of(std::string url) {
  if (const auto scheme = url.find("://"); scheme != std::string::npos) url.erase(0, scheme + 3);
  while (url.ends_with("/")) url.pop_back();
  return url;
}

// As docker reads a name: its first part is a registry when it has a '.' or ':', or is "localhost".
std::string full_name(const std::string& image, const std::string& server_url) {
  const auto slash = image.find('/');
  const std::string first = image.substr(0, slash);
  std::string name = image;
  if (slash == std::string::npos || (first.find_first_of(".:") == std::string::npos && first != "localhost")) {
    const std::string host = server_url.empty() ? "docker.io" : host_of(server_url);
    const bool official = host == "docker.io" && slash == std::string::npos;
    name = host + (official ? "/library/" : "/") + image;
  }
  const auto colon = name.rfind(':');
  const bool tagged = name.find('@') != std::string::npos || (colon != std::string::npos && colon > name.rfind('/'));
  return tagged ? name : name + ":latest";
}

// It becomes a word of an engine's interface and of command lines.
bool is_image_name(const std::string& image) {
  return !image.empty() && image.size() <= 512 && image.front() != '-' &&
         std::all_of(image.begin(), image.end(), [](unsigned char c) {
           return c < 128 && (std::isalnum(c) != 0 ||
                              std::string_view("._-/:@+").find(static_cast<char>(c)) != std::string_view::npos);
         });
}

std::string quoted(const std::string& text) {
  return json(text).dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace

Result<ImageMapping> mapping_of(const Config& config, const std::string& image, const std::string& server_url) {
  if (image.empty()) return ImageMapping{};
  ImageMapping mapping;
  std::string wanted = image, server = server_url;
  bool mapped = false;
  for (const ImageEntry& entry : config.images) {
    if (entry.image != image) continue;
    if (entry.on_host) return entry.mapping;
    mapping = entry.mapping;
    mapped = true;
    if (!entry.pull.empty()) {
      wanted = entry.pull;
      server.clear();
    }
    break;
  }
  if (!mapped && !config.unmapped_images_in_containers) {
    return Error{
        Code::failed_precondition,
        fmt::format("image {0} runs only where the operator maps it: add {{\"image\":{1},\"run\":\"host\"}} or "
                    "{{\"image\":{1},\"run\":\"container\"}} to \"images\" in the controller's configuration",
                    image, quoted(image))};
  }
  if (!is_image_name(wanted) || (!server.empty() && !is_image_name(host_of(server)))) {
    return Error{Code::invalid_argument,
                 fmt::format("containerSettings.imageSourceRegistry.image: {} is not the name of an image, like "
                             "\"tensorflow/tensorflow:1.8.0-gpu\"",
                             quoted(wanted.substr(0, 200)))};
  }
  mapping.container_image = full_name(wanted, server);
  for (const ImageMirror& mirror : config.image_mirrors) {
    if (!mapping.container_image.starts_with(mirror.prefix)) continue;
    mapping.container_image.replace(0, mirror.prefix.size(), mirror.replace);
    break;
  }
  return mapping;
}

}  // namespace trainyard::controller
