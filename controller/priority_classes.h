// The classes of jobs that an operator defines beside low (-100), normal (0) and high (100). Pure.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "common/model.h"
#include "common/result.h"

namespace trainyard::controller {

// From `scheduling.classes` of the configuration, a number by name: the greater goes first. Errors name the field.
Status read_classes(const std::map<std::string, std::int32_t>& numbers, PriorityClasses& classes);

}  // namespace trainyard::controller
