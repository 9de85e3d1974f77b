;; local.echo: writes the validated input back as its output. Host ABI 1.
(module
  (import "palyra" "input_len" (func $input_len (result i32)))
  (import "palyra" "input_read" (func $input_read (param i32 i32 i32) (result i32)))
  (import "palyra" "output_write" (func $output_write (param i32 i32) (result i32)))
  (memory (export "memory") 1)

  ;; Returns 0, or 1 when the input is larger than the one page of memory, 2 when it could not be
  ;; read whole, 3 when the host refused the output.
  (func (export "run") (result i32)
    (local $length i32)
    (local.set $length (call $input_len))
    (if (i32.gt_u (local.get $length) (i32.const 65536))
      (then (return (i32.const 1))))
    (if (i32.ne
          (call $input_read (i32.const 0) (i32.const 0) (local.get $length))
          (local.get $length))
      (then (return (i32.const 2))))
    (if (i32.lt_s (call $output_write (i32.const 0) (local.get $length)) (i32.const 0))
      (then (return (i32.const 3))))
    (i32.const 0)))
