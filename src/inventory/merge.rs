//! Several objects become one.

use serde_json::{Map, Number, Value};

/// Puts `new` over `data`: objects merge key by key, lists get what they do not have yet at their
/// end, anything else is replaced.
pub(super) fn merge(data: &mut Map<String, Value>, new: Map<String, Value>) {
    for (key, value) in new {
        let Some(old) = data.get_mut(&key) else {
            data.insert(key, value);
            continue;
        };
        match (old, value) {
            (Value::Array(old), Value::Array(new)) => {
                for item in new {
                    if !old.iter().any(|other| same(other, &item)) {
                        old.push(item);
                    }
                }
            }
            (Value::Object(old), Value::Object(new)) => merge(old, new),
            (old, value) => *old = value,
        }
    }
}

/// Whether two values are equal: numbers by their value, whether they are whole or not.
pub(super) fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => same_number(one, other),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let in_other =
                |(key, value): (&String, &Value)| other.get(key).is_some_and(|it| same(it, value));
            one.len() == other.len() && one.iter().all(in_other)
        }
        (one, other) => one == other,
    }
}

fn same_number(one: &Number, other: &Number) -> bool {
    // Whole numbers first: beyond 2^53 several of them are one floating point number.
    one == other || (one.is_f64() || other.is_f64()) && one.as_f64() == other.as_f64()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_merge_lists_grow_and_the_rest_is_replaced() {
        for (data, new, expected) in [
            (json!({"a": 1}), json!({"b": 2}), json!({"a": 1, "b": 2})),
            (
                json!({"a": {"x": 1, "y": 2}}),
                json!({"a": {"y": 3}}),
                json!({"a": {"x": 1, "y": 3}}),
            ),
            (json!({"a": [1, 2]}), json!({"a": [2, 3, 3]}), json!({"a": [1, 2, 3]})),
            (json!({"a": [1, 1]}), json!({"a": [1]}), json!({"a": [1, 1]})),
            (
                json!({"a": [{"x": 1}]}),
                json!({"a": [{"x": 1}, {"x": 2}]}),
                json!({"a": [{"x": 1}, {"x": 2}]}),
            ),
            (json!({"a": [1]}), json!({"a": [1.0, "1", null]}), json!({"a": [1, "1", null]})),
            (json!({"a": [1]}), json!({"a": {"x": 1}}), json!({"a": {"x": 1}})),
            (json!({"a": {"x": 1}}), json!({"a": null}), json!({"a": null})),
            (json!({"a": 1}), json!({"a": [1]}), json!({"a": [1]})),
            (
                json!({"a": {"b": {"c": [1]}}}),
                json!({"a": {"b": {"c": [2], "d": 0}}}),
                json!({"a": {"b": {"c": [1, 2], "d": 0}}}),
            ),
        ] {
            let (Value::Object(mut data), Value::Object(new)) = (data, new) else { panic!() };
            merge(&mut data, new);
            assert_eq!(Value::Object(data), expected);
        }
    }

    #[test]
    fn large_whole_numbers_are_not_taken_for_one_another() {
        assert!(!same(&json!(9_007_199_254_740_993_u64), &json!(9_007_199_254_740_992_u64)));
        assert!(same(&json!(2), &json!(2.0)));
        assert!(!same(&json!(1), &json!(true)));
    }
}
