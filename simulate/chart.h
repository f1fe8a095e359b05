// The result as a picture: utilisation and jobs waiting over time, and how long jobs waited, one line per scenario. A
// complete SVG document without fonts, scripts or pictures of elsewhere. Pure: the same outcomes give the same bytes.
#pragma once

#include <string>
#include <vector>

#include "simulate/report.h"

namespace trainyard::simulate {

// More scenarios than there are colours and dashes repeat them.
std::string draw(const std::vector<Outcome>& outcomes);

}  // namespace trainyard::simulate
