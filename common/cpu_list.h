// Processors as Linux lists them: "0-3,64-67". Pure.
#pragma once

#include <cstdint>
#include <set>
#include <string>

namespace trainyard {

std::string cpu_list(const std::set<std::uint32_t>& cpus);
// Without what cannot be read.
std::set<std::uint32_t> parse_cpu_list(const std::string& text);

}  // namespace trainyard
