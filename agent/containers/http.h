// HTTP over a Unix socket, one request per connection, each with its deadline. Blocks: only in trainyard-container.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "common/result.h"
#include "common/time.h"

namespace trainyard::agent {

struct HttpRequest {
  std::string method, target;
  std::string body = {};
  std::string registry_auth = {};  // a secret: the value of X-Registry-Auth
};

struct HttpReply {
  int status = 0;
  std::string body;
};

// UNAVAILABLE when nobody listens at `socket`, DEADLINE_EXCEEDED when the answer is not whole in time.
Result<HttpReply> http_call(const std::string& socket, const HttpRequest& request, DurationMs deadline_ms);

// The body goes to `piece` as it comes. DEADLINE_EXCEEDED after so long a silence, or at the limit.
Result<int> http_stream(const std::string& socket, const HttpRequest& request, DurationMs silence_ms,
                        DurationMs limit_ms, const std::function<void(std::string_view)>& piece);

}  // namespace trainyard::agent
