//! JSON Schemas of the types that write themselves as text.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::{Digest, Exact, InvoiceId, Money, RunId, Timestamp, Zone};

macro_rules! text {
    ($type:ty, $name:literal, $schema:tt) => {
        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

text!(Timestamp, "Timestamp", {
    "type": "string", "format": "date-time", "description": "An instant, RFC 3339"
});
text!(Exact, "Exact", {
    "type": "string",
    "description": "An exact number: a decimal, or a fraction such as `1/3` where no decimal is exact"
});
text!(Digest, "Digest", {
    "type": "string", "pattern": "^[0-9a-f]{64}$", "description": "SHA-256 in hexadecimal"
});
text!(Zone, "TimeZone", {
    "type": "string", "description": "Name of an IANA time zone, for example `Europe/Berlin`"
});
text!(InvoiceId, "InvoiceId", { "type": "string", "format": "uuid" });
text!(RunId, "RunId", { "type": "string", "format": "uuid" });
text!(Money, "Money", {
    "type": "object",
    "description": "An amount on the currency's minor unit",
    "required": ["amount", "currency"],
    "properties": {
        "amount": {"type": "string", "description": "A decimal with all digits of the minor unit"},
        "currency": {"type": "string", "description": "ISO 4217 code"}
    }
});
