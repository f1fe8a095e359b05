#include "agent/containers/image.h"

#include <nlohmann/json.hpp>

namespace trainyard::agent {
namespace {

using nlohmann::json;

// RFC 4648's alphabet for URLs, with its padding.
std::string base64_url(const std::string& bytes) {
  const char* digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t group = 0;
    for (std::size_t k = 0; k < 3; ++k) {
      group = group << 8U | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0U);
    }
    for (std::size_t k = 0; k < 4; ++k) {
      text += i + k <= bytes.size() ? digits[group >> (18 - 6 * k) & 63U] : '=';
    }
  }
  return text;
}

std::string decode_base64(const std::string& text) {
  const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  std::uint32_t group = 0;
  int bits = 0;
  for (const char c : text) {
    const auto digit = digits.find(c);
    if (digit == std::string::npos) continue;
    group = group << 6U | static_cast<std::uint32_t>(digit);
    if ((bits += 6) < 8) continue;
    bits -= 8;
    bytes += static_cast<char>(group >> bits & 255U);
  }
  return bytes;
}

bool has(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

ImageName parse_image(const std::string& image) {
  ImageName name;
  std::string rest = image;
  if (const auto at = rest.find('@'); at != std::string::npos) {
    name.digest = rest.substr(at + 1);
    rest.resize(at);
  }
  const auto slash = rest.rfind('/'), colon = rest.rfind(':');
  if (colon != std::string::npos && (slash == std::string::npos || colon > slash)) {
    name.tag = rest.substr(colon + 1);
    rest.resize(colon);
  } else if (name.digest.empty()) {
    name.tag = "latest";
  }
  name.repository = rest;
  name.host = rest.substr(0, rest.find('/'));
  return name;
}

bool is_local(const ImageName& image) {
  return image.host == "localhost";
}

std::string registry_auth(const std::string& user, const std::string& password, const std::string& host) {
  if (user.empty()) return {};
  return base64_url(json{{"username", user}, {"password", password}, {"serveraddress", host}}.dump(
      -1, ' ', true, json::error_handler_t::replace));
}

std::string registry_auth_from_file(const std::string& text, const std::string& host) {
  const json file = json::parse(text, nullptr, false);
  const auto auths = file.is_object() ? file.find("auths") : file.end();
  if (!file.is_object() || auths == file.end() || !auths->is_object()) return {};
  for (const auto& [key, entry] : auths->items()) {
    // "https://index.docker.io/v1/" is what docker calls docker.io.
    const std::string of =
        has(key, "index.docker.io") ? "docker.io" : key.substr(has(key, "://") ? key.find("://") + 3 : 0);
    if (of.substr(0, of.find('/')) != host || !entry.is_object() || !entry.contains("auth")) continue;
    const std::string pair = decode_base64(entry.value("auth", std::string()));
    if (const auto colon = pair.find(':'); colon != std::string::npos) {
      return registry_auth(pair.substr(0, colon), pair.substr(colon + 1), host);
    }
  }
  return {};
}

ImageFault judge_complaint(const std::string& message) {
  if (has(message, "unauthorized") || has(message, "no basic auth credentials") ||
      has(message, "authentication required") || has(message, "denied") || has(message, "Unauthorized")) {
    return {"unauthorized",
            "check containerSettings.imageSourceRegistry.credentials, and that this user may pull the image", false};
  }
  const bool program = has(message, "executable file not found");  // of the engine's own, or the container's
  if (has(message, "manifest unknown") || (has(message, "not found") && !program) || has(message, "name unknown") ||
      has(message, "no such image")) {
    return {"notFound", "check the image's name and tag, and serverUrl", false};
  }
  if (has(message, "server gave HTTP response to HTTPS client")) {
    return {"tls", "the registry speaks no TLS: the operator must list it as insecure in the engine's configuration",
            false};
  }
  if (has(message, "x509:") || has(message, "certificate")) {
    return {"tls", "the operator must give the engine the registry's CA", false};
  }
  if (has(message, "no such host") || has(message, "lookup ")) {
    return {"dns", "check the name of the registry", false};
  }
  if (has(message, "no space left")) return {"noSpace", "the disk of the engine's store is full", true};
  if (has(message, "timeout") || has(message, "deadline exceeded") || has(message, "Client.Timeout"))
    return {"timeout", "", true};
  if (has(message, "connection refused") || has(message, "no route to host") ||
      has(message, "network is unreachable") || has(message, "connection reset")) {
    return {"unreachable", "", true};
  }
  return {"other", "", false};
}

}  // namespace trainyard::agent
