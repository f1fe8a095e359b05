// Classes of jobs that an operator defines.
#include <catch2/catch.hpp>

#include "controller/priority_classes.h"

using namespace trainyard;
using controller::read_classes;

TEST_CASE("classes of the operator's have names and numbers of their own") {
  PriorityClasses classes;
  REQUIRE(read_classes({{"urgent", 200}, {"scavenger", -200}}, classes));
  CHECK(classes == PriorityClasses{{"urgent", Priority{200}}, {"scavenger", Priority{-200}}});
  const auto wrong = [](const std::map<std::string, std::int32_t>& numbers) {
    PriorityClasses taken;
    const Status status = read_classes(numbers, taken);
    return status ? "taken" : status.error().message;
  };
  const std::string where = "configuration: scheduling.classes.";
  CHECK(wrong({{"High", 5}}) == where + "High: must be a new name of A-Z a-z 0-9 _ -");
  CHECK(wrong({{"a b", 5}}) == where + "a b: must be a new name of A-Z a-z 0-9 _ -");
  CHECK(wrong({{"A", 5}, {"a", 6}}) == where + "a: must be a new name of A-Z a-z 0-9 _ -");
  CHECK(wrong({{"urgent", 1'001}}) == where + "urgent: must be from -1000 to 1000");
  CHECK(wrong({{"urgent", 100}}) == where + "urgent: has the number of another class; low is -100, normal 0, high 100");
}
