//! JSON for comparisons. Numbers that JSON cannot express become strings, because `null` would make them all equal.

use serde::ser::{
    SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant,
};
use serde::{Serialize, Serializer};

/// Returns a value as JSON in which NaN and the infinities differ from `None` and from each other.
pub(crate) fn text<T: Serialize + ?Sized>(value: &T) -> Result<String, serde_json::Error> {
    serde_json::to_string(&ExactValue(value))
}

/// A value that is serialized in this way, including everything inside.
struct ExactValue<'v, T: ?Sized>(&'v T);

impl<T: Serialize + ?Sized> Serialize for ExactValue<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(Writer(serializer))
    }
}

/// A serializer that wraps another one.
struct Writer<S>(S);

/// Methods that pass on their arguments.
macro_rules! hand_on {
    ($($method:ident($($name:ident: $type:ty),*))*) => {
        $(fn $method(self, $($name: $type),*) -> Result<S::Ok, S::Error> {
            self.0.$method($($name),*)
        })*
    };
}

/// Methods that begin a compound value.
macro_rules! begin {
    ($($method:ident -> $parts:ident($($name:ident: $type:ty),*))*) => {
        $(fn $method(self, $($name: $type),*) -> Result<Writer<S::$parts>, S::Error> {
            self.0.$method($($name),*).map(Writer)
        })*
    };
}

impl<S: Serializer> Serializer for Writer<S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Writer<S::SerializeSeq>;
    type SerializeTuple = Writer<S::SerializeTuple>;
    type SerializeTupleStruct = Writer<S::SerializeTupleStruct>;
    type SerializeTupleVariant = Writer<S::SerializeTupleVariant>;
    type SerializeMap = Writer<S::SerializeMap>;
    type SerializeStruct = Writer<S::SerializeStruct>;
    type SerializeStructVariant = Writer<S::SerializeStructVariant>;

    hand_on! {
        serialize_bool(value: bool)
        serialize_i8(value: i8)
        serialize_i16(value: i16)
        serialize_i32(value: i32)
        serialize_i64(value: i64)
        serialize_i128(value: i128)
        serialize_u8(value: u8)
        serialize_u16(value: u16)
        serialize_u32(value: u32)
        serialize_u64(value: u64)
        serialize_u128(value: u128)
        serialize_char(value: char)
        serialize_str(value: &str)
        serialize_bytes(value: &[u8])
        serialize_none()
        serialize_unit()
        serialize_unit_struct(name: &'static str)
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str)
    }

    begin! {
        serialize_seq -> SerializeSeq(len: Option<usize>)
        serialize_tuple -> SerializeTuple(len: usize)
        serialize_tuple_struct -> SerializeTupleStruct(name: &'static str, len: usize)
        serialize_tuple_variant -> SerializeTupleVariant(
            name: &'static str, index: u32, variant: &'static str, len: usize
        )
        serialize_map -> SerializeMap(len: Option<usize>)
        serialize_struct -> SerializeStruct(name: &'static str, len: usize)
        serialize_struct_variant -> SerializeStructVariant(
            name: &'static str, index: u32, variant: &'static str, len: usize
        )
    }

    fn serialize_f32(self, value: f32) -> Result<S::Ok, S::Error> {
        if value.is_finite() { self.0.serialize_f32(value) } else { self.0.collect_str(&value) }
    }

    fn serialize_f64(self, value: f64) -> Result<S::Ok, S::Error> {
        if value.is_finite() { self.0.serialize_f64(value) } else { self.0.collect_str(&value) }
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.0.serialize_some(&ExactValue(value))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.0.serialize_newtype_struct(name, &ExactValue(value))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.0.serialize_newtype_variant(name, index, variant, &ExactValue(value))
    }
}

/// Compound values with elements or unnamed fields.
macro_rules! parts {
    ($($trait:ident::$method:ident)*) => {
        $(impl<S: $trait> $trait for Writer<S> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
                self.0.$method(&ExactValue(value))
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.0.end()
            }
        })*
    };
}

parts! {
    SerializeSeq::serialize_element
    SerializeTuple::serialize_element
    SerializeTupleStruct::serialize_field
    SerializeTupleVariant::serialize_field
}

/// Compound values with named fields.
macro_rules! fields {
    ($($trait:ident)*) => {
        $(impl<S: $trait> $trait for Writer<S> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), S::Error> {
                self.0.serialize_field(name, &ExactValue(value))
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.0.end()
            }
        })*
    };
}

fields! { SerializeStruct SerializeStructVariant }

impl<S: SerializeMap> SerializeMap for Writer<S> {
    type Ok = S::Ok;
    type Error = S::Error;

    // A key that is not a string is always an error.
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), S::Error> {
        self.0.serialize_key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        self.0.serialize_value(&ExactValue(value))
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.0.end()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Serialize)]
    struct Reading {
        value: Option<f64>,
        rest: (f32, Vec<Kind>),
        named: BTreeMap<u8, f64>,
    }

    #[derive(Serialize)]
    enum Kind {
        Unit,
        New(f64),
        Two(f64, u8),
        Fields { of: f64 },
    }

    #[test]
    fn what_json_has_no_words_for_is_told_apart_wherever_it_is() {
        let reading = |value: Option<f64>, other: f64| Reading {
            value,
            rest: (
                other as f32,
                vec![Kind::Unit, Kind::New(other), Kind::Two(other, 1), Kind::Fields { of: other }],
            ),
            named: BTreeMap::from([(1, other)]),
        };
        let of = |value, other| text(&reading(value, other)).unwrap();
        let all = [Some(f64::NAN), Some(f64::INFINITY), Some(f64::NEG_INFINITY), None].map(|v| of(v, 1.5));
        assert!((0..4).all(|one| (0..one).all(|other| all[one] != all[other])), "{all:?}");
        assert!(!of(Some(f64::NAN), f64::INFINITY).contains("null"));
        assert_eq!(all[3], serde_json::to_string(&reading(None, 1.5)).unwrap());
    }
}
