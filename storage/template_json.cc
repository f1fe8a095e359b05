#include "storage/template_json.h"

#include "common/model_json.h"
#include "storage/json_parts.h"

namespace trainyard::storage {

nlohmann::json template_json(const core::JobTemplate& body) {
  return {{"clusterPath", body.cluster_path},
          {"spec", body.spec},
          {"mapping", body.mapping},
          {"volumes", body.volumes},
          {"unique", body.unique},
          {"runAs", body.run_as},
          {"owner", body.owner},
          {"warnings", body.warnings}};
}

void read_template(const nlohmann::json& stored, core::JobTemplate& into) {
  into.spec = stored.at("spec").get<JobSpec>();
  read(stored, "clusterPath", into.cluster_path);
  read(stored, "mapping", into.mapping);
  read(stored, "volumes", into.volumes);
  read(stored, "unique", into.unique);
  read(stored, "runAs", into.run_as);
  read(stored, "owner", into.owner);
  read(stored, "warnings", into.warnings);
}

}  // namespace trainyard::storage
