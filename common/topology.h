// Places in an operator's tree of nodes, as a path of LEVEL=NAME from the root: "rack=r1/leaf=l2". A domain of a level
// is all nodes whose paths are the same up to it, so that names need to be unique below their parent only. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/model.h"

namespace trainyard {

// What is wrong with such a path, in words; nothing: it is fine. An empty one is: the node is in no tree.
std::optional<std::string> wrong_with_place(const std::string& place);
// What is wrong with what a job wants, with the name of the field below `topology`; nothing: it is fine.
std::optional<std::string> wrong_with(const Topology& topology, std::uint32_t node_count);

// Whether a job waits until its nodes lie so; otherwise it only prefers that.
inline bool insists(const Topology& wanted) {
  return wanted.required || !wanted.within.empty();
}

// The parts of a path that are domains, outermost first: of "rack=r1/leaf=l2" these are "rack=r1", "rack=r1/leaf=l2".
std::vector<std::string_view> domains_of(const std::string& place);
std::string_view level_of(std::string_view domain);  // "leaf" of "rack=r1/leaf=l2"
std::string_view last_of(std::string_view domain);   // "leaf=l2" of it

// "one leaf", "blocks of 4 in one leaf each", "as few of leaf as can be", with ", in rack=r1 only".
std::string text_of(const Topology& topology);

}  // namespace trainyard
