#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| majordomo::fuzzing::store_record(input));
