#include "controller/edge/page.h"

#include <fmt/format.h>

namespace trainyard::controller {
namespace {

constexpr std::int32_t kMostResults = 1'000;

int digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

// In hex: whoever sees a token need not think that it can be made by hand.
std::string token_after(const std::string& key) {
  std::string token;
  for (const char c : key) token += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return token;
}

Result<Page> read_page(std::int32_t max_results, const std::string& token) {
  if (max_results < 0 || max_results > kMostResults) {
    return Error{Code::invalid_argument, fmt::format("maxResults: must be 1 to {}, got {}", kMostResults, max_results)};
  }
  Page page;
  page.size = static_cast<std::size_t>(max_results == 0 ? kMostResults : max_results);
  for (std::size_t i = 0; i < token.size(); i += 2) {
    const int high = digit_of(token[i]), low = i + 1 < token.size() ? digit_of(token[i + 1]) : -1;
    if (high < 0 || low < 0) {
      return Error{Code::invalid_argument, "pageToken: is not the nextPageToken of an earlier answer"};
    }
    page.after += static_cast<char>(high * 16 + low);
  }
  return page;
}

}  // namespace trainyard::controller
