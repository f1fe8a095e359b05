// The JSON form of what is given of jobs that are made later: of a job array's tasks, of a schedule's jobs.
#pragma once

#include <nlohmann/json.hpp>

#include "controller/core/rows.h"

namespace trainyard::storage {

nlohmann::json template_json(const core::JobTemplate& body);
// Throws what from_json throws.
void read_template(const nlohmann::json& stored, core::JobTemplate& into);

}  // namespace trainyard::storage
