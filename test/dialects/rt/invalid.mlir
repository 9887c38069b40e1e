// RUN: graft-opt %s --split-input-file --verify-diagnostics

// The rule that each case breaks is named by operation and number, as in RTOps.td and RTTypes.td.

// access 1
// expected-error @+1 {{element type must be f32, f64, bf16, f16, i64, i32 or i1, got 'i16'}}
rt.row_program @p rows [4] columns 8 (%x: !rt.access<i16, [8], 1>) {}

// -----
// access 2
// expected-error @+1 {{row strides must not be negative}}
rt.row_program @p rows [4] columns 8 (%x: !rt.access<f32, [-8], 1>) {}

// -----
// access 2
// expected-error @+1 {{column stride must be 0 or 1, got 4}}
rt.row_program @p rows [4] columns 8 (%x: !rt.access<f32, [1], 4>) {}

// -----
// access 3
// expected-error @+1 {{align must be a power of two from 4 to 4096, got 48}}
rt.row_program @p rows [4] columns 8 (%x: !rt.access<f32, [8], 1, align 48>) {}

// -----
// access 4
// expected-error @+1 {{accumulate needs f32, got 'bf16'}}
rt.row_program @p rows [4] columns 8 (%x: !rt.access<bf16, [8], 1, accumulate>) {}

// -----
// access 4
// expected-error @+1 {{nontemporal needs column stride 1 and excludes accumulate}}
rt.row_program @p rows [4] columns 8 (%x: !rt.access<f32, [8], 0, nontemporal>) {}

// -----
// access: an unknown flag
// expected-error @+1 {{expected accumulate, noalias, nontemporal or align N}}
rt.row_program @p rows [4] columns 8 (%x: !rt.access<f32, [8], 1, volatile>) {}

// -----
// scratch
rt.row_program @p rows [4] columns 8 () {
  // expected-error @+1 {{scratch holds f32, got 'bf16'}}
  %e = rt.scratch : !rt.scratch<bf16>
}

// -----
// row_program 1
// expected-error @+1 {{rows must have 1 to 8 dimensions of at least 1}}
rt.row_program @p rows [4, 0] columns 8 () {}

// -----
// row_program 1
// expected-error @+1 {{rows must have 1 to 8 dimensions of at least 1}}
rt.row_program @p rows [] columns 8 () {}

// -----
// row_program 1
// expected-error @+1 {{columns must be at least 1}}
rt.row_program @p rows [4] columns 0 () {}

// -----
// row_program 1
// expected-error @+1 {{rows times columns must fit in 62 bits}}
rt.row_program @p rows [4294967296, 4294967296] columns 8 () {}

// -----
// row_program 2
// expected-error @+1 {{group must be the product of trailing row dimensions, got 8}}
rt.row_program @p rows [8, 4] columns 8 group 8 () {}

// -----
// row_program 2
// expected-error @+1 {{group must be the product of trailing row dimensions, got 0}}
rt.row_program @p rows [8, 4] columns 8 group 0 () {}

// -----
// row_program 3
// expected-error @+1 {{argument 0 must be an access with 2 row strides, got '!rt.access<f32, [8], 1>'}}
rt.row_program @p rows [2, 4] columns 8 (%x: !rt.access<f32, [8], 1>) {}

// -----
// row_program 3
// expected-error @+1 {{argument 0 must be an access with 1 row strides, got 'f32'}}
rt.row_program @p rows [4] columns 8 (%x: f32) {}

// -----
// row_program 3
// expected-error @+1 {{argument 0 reaches 2^62 bytes or more}}
rt.row_program @p rows [4] columns 8 (%x: !rt.access<f32, [1152921504606846976], 1>) {}

// -----
// row_program 4
rt.row_program @p rows [4] columns 8 () {
  // expected-error @+1 {{must not stand in a row program: only scalar arith and math operations and those of rt}}
  %a = arith.constant dense<1.0> : vector<4xf32>
}

// -----
// row_program 4: f16 and bf16 exist in memory only
rt.row_program @p rows [4] columns 8 () {
  // expected-error @+1 {{must not stand in a row program: only scalar arith and math operations and those of rt}}
  %a = arith.constant 1.0 : f16
}

// -----
// row_program 5
// expected-error @+1 {{argument 0: a written access must not map two rows to one element}}
rt.row_program @p rows [4] columns 8 (%y: !rt.access<f32, [0], 1>) {
  %c = arith.constant 1.0 : f32
  rt.sweep () writes (%y : !rt.access<f32, [0], 1>) {
    rt.yield %c : f32
  }
}

// -----
// row_program 5: rows that overlap
// expected-error @+1 {{argument 0: a written access must not map two rows to one element}}
rt.row_program @p rows [4, 4] columns 8 (%y: !rt.access<f32, [16, 8], 1>) {
  %c = arith.constant 1.0 : f32
  rt.sweep () writes (%y : !rt.access<f32, [16, 8], 1>) {
    rt.yield %c : f32
  }
}

// -----
// row_program 6: not 0 along the group
// expected-error @+1 {{argument 0: an accumulate access must have stride 0 along the dimensions of the group}}
rt.row_program @p rows [4, 4] columns 8 group 4 (%y: !rt.access<f32, [32, 8], 1, accumulate>) {
  %c = arith.constant 1.0 : f32
  rt.sweep () writes (%y : !rt.access<f32, [32, 8], 1, accumulate>) {
    rt.yield %c : f32
  }
}

// -----
// row_program 6: two units add to one element
// expected-error @+1 {{argument 0: a written access must not map two rows to one element}}
rt.row_program @p rows [4, 4] columns 8 group 4 (%y: !rt.access<f32, [0, 0], 1, accumulate>) {
  %c = arith.constant 1.0 : f32
  rt.sweep () writes (%y : !rt.access<f32, [0, 0], 1, accumulate>) {
    rt.yield %c : f32
  }
}

// -----
// row_program 6: read by a sweep
// expected-error @+1 {{argument 0: an accumulate access must be written exactly once and never read}}
rt.row_program @p rows [4, 4] columns 8 group 4 (%y: !rt.access<f32, [8, 0], 1, accumulate>) {
  rt.sweep (%a = %y : !rt.access<f32, [8, 0], 1, accumulate>) writes (%y : !rt.access<f32, [8, 0], 1, accumulate>) {
    rt.yield %a : f32
  }
}

// -----
// row_program 6: never written
// expected-error @+1 {{argument 0: an accumulate access must be written exactly once and never read}}
rt.row_program @p rows [4, 4] columns 8 group 4 (%y: !rt.access<f32, [8, 0], 1, accumulate>) {}

// -----
// row_program 7: read as well
// expected-error @+1 {{argument 0: a nontemporal access must be written and never read}}
rt.row_program @p rows [4] columns 64 (%y: !rt.access<f32, [64], 1, nontemporal, align 64>) {
  rt.sweep (%a = %y : !rt.access<f32, [64], 1, nontemporal, align 64>) writes (%y : !rt.access<f32, [64], 1, nontemporal, align 64>) {
    rt.yield %a : f32
  }
}

// -----
// row_program 7: rows that begin anywhere
// expected-error @+1 {{argument 0: rows of a nontemporal access must begin on multiples of 64 bytes}}
rt.row_program @p rows [4] columns 100 (%y: !rt.access<f32, [100], 1, nontemporal, align 64>) {
  %c = arith.constant 1.0 : f32
  rt.sweep () writes (%y : !rt.access<f32, [100], 1, nontemporal, align 64>) {
    rt.yield %c : f32
  }
}

// -----
// row_program 8
// expected-error @+1 {{scratch rows must take at most 2097152 bytes together}}
rt.row_program @p rows [4] columns 300000 () {
  %d = rt.scratch : !rt.scratch<f32>
  %e = rt.scratch : !rt.scratch<f32>
}

// -----
// row_program 9
rt.row_program @p rows [4] columns 8 () {
  %e = rt.scratch : !rt.scratch<f32>
  // expected-error @+1 {{reads scratch that no earlier sweep wrote}}
  %s = rt.sweep (%a = %e : !rt.scratch<f32>) writes (%e : !rt.scratch<f32>) reduces (add : f32) {
    rt.yield %a, %a : f32, f32
  }
}

// -----
// sweep 1
rt.row_program @p rows [4] columns 8 (%x: !rt.access<bf16, [8], 1>) {
  // expected-error @+1 {{block argument 0 must be 'f32', got 'bf16'}}
  "rt.sweep"(%x) <{reductions = [], operandSegmentSizes = array<i32: 1, 0>}> ({
  ^bb0(%a: bf16):
    "rt.yield"() : () -> ()
  }) : (!rt.access<bf16, [8], 1>) -> ()
}

// -----
// sweep 1
rt.row_program @p rows [4] columns 8 (%x: !rt.access<f32, [8], 1>) {
  // expected-error @+1 {{must have one block argument per input}}
  "rt.sweep"(%x) <{reductions = [], operandSegmentSizes = array<i32: 1, 0>}> ({
    "rt.yield"() : () -> ()
  }) : (!rt.access<f32, [8], 1>) -> ()
}

// -----
// sweep 2
rt.row_program @p rows [4] columns 8 (%x: !rt.access<f32, [8], 1>) {
  %s = rt.sweep (%a = %x : !rt.access<f32, [8], 1>) reduces (add : f32) {
    // expected-error @+1 {{must yield 1 values, one per written operand and reduction, got 0}}
    rt.yield
  }
}

// -----
// sweep 2
rt.row_program @p rows [4] columns 8 (%x: !rt.access<i32, [8], 1>, %y: !rt.access<f32, [8], 1>) {
  rt.sweep (%a = %x : !rt.access<i32, [8], 1>) writes (%y : !rt.access<f32, [8], 1>) {
    // expected-error @+1 {{value 0 must be 'f32', got 'i32'}}
    rt.yield %a : i32
  }
}

// -----
// sweep 2
rt.row_program @p rows [4] columns 8 () {
  // expected-error @+1 {{must end with rt.yield}}
  rt.sweep () {
    llvm.unreachable
  }
}

// -----
// sweep 3
rt.row_program @p rows [4] columns 8 (%x: !rt.access<f32, [8], 1>) {
  %y = builtin.unrealized_conversion_cast %x : !rt.access<f32, [8], 1> to !rt.access<f32, [8], 1>
  // expected-error @+1 {{accesses must be arguments of the row program}}
  rt.sweep (%a = %y : !rt.access<f32, [8], 1>) {
    rt.yield
  }
}

// -----
// sweep 4
rt.row_program @p rows [4] columns 8 (%y: !rt.access<f32, [1], 0>) {
  %c = arith.constant 1.0 : f32
  // expected-error @+1 {{a written access must have column stride 1}}
  rt.sweep () writes (%y : !rt.access<f32, [1], 0>) {
    rt.yield %c : f32
  }
}

// -----
// sweep 4
rt.row_program @p rows [4] columns 8 (%y: !rt.access<f32, [8], 1>) {
  %c = arith.constant 1.0 : f32
  // expected-error @+1 {{must not write one operand twice}}
  rt.sweep () writes (%y : !rt.access<f32, [8], 1>, %y : !rt.access<f32, [8], 1>) {
    rt.yield %c, %c : f32, f32
  }
}

// -----
// sweep 5
rt.row_program @p rows [4] columns 8 (%x: !rt.access<f32, [8], 1>) {
  // expected-error @+1 {{reduction or does not take 'f32'}}
  %s = rt.sweep (%a = %x : !rt.access<f32, [8], 1>) reduces (or : f32) {
    rt.yield %a : f32
  }
}

// -----
// sweep 5
rt.row_program @p rows [4] columns 8 (%x: !rt.access<i1, [8], 1>) {
  // expected-error @+1 {{reduction add does not take 'i1'}}
  %s = rt.sweep (%a = %x : !rt.access<i1, [8], 1>) reduces (add : i1) {
    rt.yield %a : i1
  }
}

// -----
// sweep 5
rt.row_program @p rows [4] columns 8 () {
  // expected-error @+1 {{must have one result per reduction}}
  %s = "rt.sweep"() <{reductions = [], operandSegmentSizes = array<i32: 0, 0>}> ({
    "rt.yield"() : () -> ()
  }) : () -> f32
}

// -----
// sweep 6
rt.row_program @p rows [4] columns 8 () {
  rt.sweep () {
    // expected-error @+1 {{must not stand in a sweep: only scalar arith and math operations and rt.column_index}}
    %c = arith.constant dense<1.0> : vector<4xf32>
    rt.yield
  }
}

// -----
// sweep: operands are accesses or scratch
rt.row_program @p rows [4] columns 8 () {
  %c = arith.constant 1.0 : f32
  // expected-error @+1 {{expected an access or scratch, got 'f32'}}
  rt.sweep (%a = %c : f32) {
    rt.yield
  }
}

// -----
// load 1
rt.row_program @p rows [4] columns 8 (%x: !rt.access<f32, [8], 1>) {
  // expected-error @+1 {{access must be an argument of the row program with column stride 0}}
  %a = rt.load %x : !rt.access<f32, [8], 1> -> f32
}

// -----
// load 1
rt.row_program @p rows [4] columns 8 group 4 (%x: !rt.access<f32, [0], 0, accumulate>) {
  // expected-error @+1 {{must not read an accumulate access}}
  %a = rt.load %x : !rt.access<f32, [0], 0, accumulate> -> f32
}

// -----
// load 2
rt.row_program @p rows [4] columns 8 (%x: !rt.access<i64, [1], 0>) {
  // expected-error @+1 {{value must be 'i64', got 'f32'}}
  %a = rt.load %x : !rt.access<i64, [1], 0> -> f32
}

// -----
// store 1
rt.row_program @p rows [4] columns 8 (%x: !rt.access<f32, [8], 1>) {
  %c = arith.constant 1.0 : f32
  // expected-error @+1 {{access must be an argument of the row program with column stride 0}}
  rt.store %c, %x : f32, !rt.access<f32, [8], 1>
}

// -----
// store 2
rt.row_program @p rows [4] columns 8 (%x: !rt.access<i64, [1], 0>) {
  %c = arith.constant 1.0 : f32
  // expected-error @+1 {{value must be 'i64', got 'f32'}}
  rt.store %c, %x : f32, !rt.access<i64, [1], 0>
}

// -----
// row_index 1
rt.row_program @p rows [4] columns 8 () {
  // expected-error @+1 {{dimension must be less than 1, got 1}}
  %i = rt.row_index 1 : i32
}

// -----
// row_index 1
rt.row_program @p rows [4294967296] columns 8 () {
  // expected-error @+1 {{dimension of size 4294967296 does not fit in 'i32'}}
  %i = rt.row_index 0 : i32
}

// -----
// column_index 1
rt.row_program @p rows [4] columns 4294967296 () {
  rt.sweep () {
    // expected-error @+1 {{4294967296 columns do not fit in 'i32'}}
    %j = rt.column_index : i32
    rt.yield
  }
}
