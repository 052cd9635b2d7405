#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| majordomo::fuzzing::router_ops(input));
