#include "cli/client.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <optional>
#include <thread>

#include "common/check.h"

namespace trainyard::cli {
namespace {

constexpr int kDefaultPort = 7470;
constexpr int kLargestAnswerBytes = 256 * 1024 * 1024;  // a list of many jobs

std::optional<std::string> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

Result<std::shared_ptr<grpc::ChannelCredentials>> credentials_for(const Endpoint& endpoint) {
  if (endpoint.ca.empty() && endpoint.certificate.empty() && endpoint.key.empty()) {
    return grpc::InsecureChannelCredentials();
  }
  if (endpoint.ca.empty() || endpoint.certificate.empty() != endpoint.key.empty()) {
    return Error{Code::invalid_argument,
                 "TLS needs --ca, and --cert together with --key (or TRAINYARD_CA, TRAINYARD_CERT, TRAINYARD_KEY)"};
  }
  grpc::SslCredentialsOptions options;
  const auto load = [](const std::string& path, std::string& out) -> Status {
    if (path.empty()) return {};
    auto text = read_file(path);
    if (!text) return Error{Code::invalid_argument, "cannot read " + path + ": check the path and its permissions"};
    out = std::move(*text);
    return {};
  };
  for (const Status& status :
       {load(endpoint.ca, options.pem_root_certs), load(endpoint.certificate, options.pem_cert_chain),
        load(endpoint.key, options.pem_private_key)}) {
    if (!status) return status.error();
  }
  return grpc::SslCredentials(options);
}

Code code_of(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::INVALID_ARGUMENT:
      return Code::invalid_argument;
    case grpc::StatusCode::NOT_FOUND:
      return Code::not_found;
    case grpc::StatusCode::ALREADY_EXISTS:
      return Code::already_exists;
    case grpc::StatusCode::PERMISSION_DENIED:
      return Code::permission_denied;
    case grpc::StatusCode::UNAUTHENTICATED:
      return Code::unauthenticated;
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return Code::resource_exhausted;
    case grpc::StatusCode::FAILED_PRECONDITION:
      return Code::failed_precondition;
    case grpc::StatusCode::ABORTED:
      return Code::aborted;
    case grpc::StatusCode::UNIMPLEMENTED:
      return Code::unimplemented;
    case grpc::StatusCode::DATA_LOSS:
      return Code::data_loss;
    default:
      return Code::internal;
  }
}

std::string printable(const std::string& text) {
  std::string out;
  for (const char c : text) out += (static_cast<unsigned char>(c) < 0x20 && c != '\n') || c == 0x7f ? ' ' : c;
  return out;
}

// "Connection refused" is for people; gRPC's way there is not.
std::string without_preamble(const std::string& message) {
  constexpr std::string_view kPreamble = "last error: UNKNOWN: ";
  const auto at = message.find(kPreamble);
  return at == std::string::npos ? message : message.substr(at + kPreamble.size());
}

}  // namespace

std::string new_request_id() {
  std::array<unsigned char, 16> bytes{};
  TY_CHECK(getrandom(bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  std::string text;
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    if (at == 4 || at == 6 || at == 8 || at == 10) text += '-';
    text += fmt::format("{:02x}", bytes[at]);
  }
  return text;
}

std::string target_of(const std::string& controller) {
  if (controller.find("://") != std::string::npos || controller.starts_with("unix:")) return controller;
  std::string host = controller, port = std::to_string(kDefaultPort);
  const auto colon = controller.rfind(':');
  const bool bracketed = controller.starts_with('[');
  const bool bare_ipv6 = !bracketed && colon != controller.find(':');
  if (colon != std::string::npos && !bare_ipv6 && !(bracketed && controller.ends_with(']'))) {
    host = controller.substr(0, colon);
    port = controller.substr(colon + 1);
  }
  if (bracketed) return "ipv6:" + host + ":" + port;
  if (bare_ipv6) return "ipv6:[" + host + "]:" + port;
  const bool numeric =
      std::all_of(host.begin(), host.end(), [](unsigned char c) { return std::isdigit(c) || c == '.'; });
  return (numeric ? "ipv4:" : "dns:///") + host + ":" + port;
}

Result<std::unique_ptr<Client>> Client::open(const Endpoint& endpoint) {
  // The system's resolver; gRPC's own also asks for SRV and TXT records, which takes its time.
  setenv("GRPC_DNS_RESOLVER", "native", 0);
  setenv("GRPC_VERBOSITY", "NONE", 0);  // errors come back as statuses and are said once
  setenv("GRPC_ENABLE_FORK_SUPPORT", "0", 0);
  auto credentials = credentials_for(endpoint);
  if (!credentials) return credentials.error();
  std::unique_ptr<Client> client(new Client(endpoint));
  client->x_credentials = *credentials;
  client->reconnect();
  return client;
}

void Client::reconnect() {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  // A command on a node may be silent for hours: a connection whose other end vanished is noticed all the same.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  arguments.SetMaxReceiveMessageSize(kLargestAnswerBytes);
  x_channel = grpc::CreateCustomChannel(target_of(x_endpoint.controller), x_credentials, arguments);
}

Error Client::error_of(const grpc::Status& status) const {
  const std::string message = printable(status.error_message());
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE && !reached()) {
    return Error{Code::unavailable,
                 fmt::format("cannot reach the controller at {}: {}; check that trainyard-controller runs there, and "
                             "--controller or TRAINYARD_CONTROLLER",
                             x_endpoint.controller, without_preamble(message))};
  }
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED && message == "Deadline Exceeded") {
    return Error{Code::unavailable, fmt::format("the controller at {} did not answer within {} s",
                                                x_endpoint.controller, kCallLimit.count())};
  }
  if (status.error_code() == grpc::StatusCode::UNIMPLEMENTED) {
    return Error{Code::unimplemented, "the controller does not know this call: " + message +
                                          "; compare `trainyard --version` with the controller's"};
  }
  return Error{code_of(status.error_code()), message.empty() ? "the controller gave no reason" : message};
}

bool Patience::again(const grpc::Status& status, Clock::time_point begun) {
  const auto code = status.error_code();
  if (code != grpc::StatusCode::UNAVAILABLE && code != grpc::StatusCode::RESOURCE_EXHAUSTED) return false;
  const auto now = Clock::now();
  // A stream that held for a while and then lost its connection: a new failure, not the old one going on.
  if (now - begun > std::chrono::seconds(3) && !x_client.reached()) progress();
  if (x_started == Clock::time_point{}) x_started = now;
  const std::chrono::duration<double> limit(x_client.x_endpoint.retry_for_s);
  if (now - x_started + x_pause > limit) return false;
  if (!x_said) {
    x_said = true;
    hide_progress();
    fmt::print(stderr, "trainyard: {}; trying again for up to {:g} s\n",
               code == grpc::StatusCode::UNAVAILABLE && !x_client.reached()
                   ? "the controller at " + x_client.x_endpoint.controller + " does not answer"
                   : printable(status.error_message()),
               limit.count());
  }
  std::this_thread::sleep_for(x_pause);
  // gRPC's own second try on a channel that failed comes after seconds, behind TLS sometimes never: begin afresh.
  if (!x_client.reached()) x_client.reconnect();
  x_pause = std::min(x_pause * 2, std::chrono::milliseconds(500));
  return true;
}

void Patience::progress() {
  x_started = {};
  x_pause = std::chrono::milliseconds(50);
  x_said = false;
}

}  // namespace trainyard::cli
