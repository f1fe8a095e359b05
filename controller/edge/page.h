// Pages of lists that are ordered by path. A token names the last item of the page before; it stays good although items
// come and go. On the loop's thread.
#pragma once

#include <map>
#include <string>

#include "common/result.h"

namespace trainyard::controller {

struct Page {
  std::string after;  // key of the last item before the page; empty: the first page
  std::size_t size = 0;
};

// INVALID_ARGUMENT naming maxResults or pageToken.
Result<Page> read_page(std::int32_t max_results, const std::string& token);
std::string token_after(const std::string& key);

// Calls add(id) for the entries of `index` below `prefix` ("" or "group/workspace/"), in their order, for one page; add
// says whether it took the item. The answer's next_page_token is set when there is more.
template <class Request, class Response, class Id, class Add>
Status fill_page(const Request& request, Response& response, const std::map<std::string, Id>& index,
                 const std::string& prefix, Add add) {
  const auto page = read_page(request.max_results(), request.page_token());
  if (!page) return page.error();
  std::size_t taken = 0;
  const std::string* last = nullptr;
  for (auto it = page->after < prefix ? index.lower_bound(prefix) : index.upper_bound(page->after);
       it != index.end() && it->first.starts_with(prefix); ++it) {
    if (taken == page->size) {
      response.set_next_page_token(token_after(*last));
      break;
    }
    if (add(it->second)) ++taken, last = &it->first;
  }
  return {};
}

}  // namespace trainyard::controller
