#include "batchai/secret_fields.h"

namespace trainyard::batchai {

void read_secrets(Fields& owner, google::protobuf::RepeatedPtrField<v1::NamedValue>& secrets) {
  owner.each("secrets", [&](Fields& secret) {
    v1::NamedValue* out = secrets.Add();
    out->set_name(secret.text("name", Fields::Need::required));
    if (secret.has("valueSecretReference")) {
      secret.refuse("valueSecretReference",
                    "there is no key vault on-prem; give the value itself: it is kept encrypted");
      return;
    }
    out->set_value(secret.text("value", Fields::Need::required));
  });
}

}  // namespace trainyard::batchai
