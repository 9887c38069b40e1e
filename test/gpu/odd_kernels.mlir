// RUN: graft-translate --row-programs-to-ptx %s | FileCheck %s
// CHECK-COUNT-12: .visible .entry

// What models rarely have: odd sizes, every storage type, blocks of rows in several dimensions, large scratch rows. gpu_kernels
// runs them on a GPU.

// Rows of odd length, in a warp and in a block; a value of the row that is read after it was written.
!odd = !rt.access<f32, [577], 1, align 64>
!odd_long = !rt.access<f32, [4099], 1, align 64>
!value = !rt.access<f32, [1], 0>
rt.row_program @normalize_odd rows [101] columns 577 (%x: !odd, %y: !odd, %norm: !value) {
  %ss = rt.sweep (%a = %x : !odd) reduces (add : f32) {
    %q = arith.mulf %a, %a : f32
    rt.yield %q : f32
  }
  %one = arith.constant 1.0 : f32
  %shifted = arith.addf %ss, %one : f32
  %r = math.rsqrt %shifted : f32
  rt.store %r, %norm : f32, !value
  rt.sweep (%a = %x : !odd, %b = %norm : !value) writes (%y : !odd) {
    %t = arith.mulf %a, %b : f32
    rt.yield %t : f32
  }
}
rt.row_program @normalize_odd_long rows [37] columns 4099 (%x: !odd_long, %y: !odd_long, %norm: !value) {
  %ss = rt.sweep (%a = %x : !odd_long) reduces (add : f32) {
    %q = arith.mulf %a, %a : f32
    rt.yield %q : f32
  }
  %one = arith.constant 1.0 : f32
  %shifted = arith.addf %ss, %one : f32
  %r = math.rsqrt %shifted : f32
  rt.store %r, %norm : f32, !value
  %again = rt.load %norm : !value -> f32
  rt.sweep (%a = %x : !odd_long) writes (%y : !odd_long) {
    %t = arith.mulf %a, %again : f32
    rt.yield %t : f32
  }
}

// One column: one lane works.
!one = !rt.access<f32, [1], 1>
rt.row_program @one_column rows [1000] columns 1 (%x: !one, %y: !one) {
  rt.sweep (%a = %x : !one) writes (%y : !one) {
    %e = math.exp %a : f32
    rt.yield %e : f32
  }
}

// Integers and booleans of every width, folded in a block.
!ids = !rt.access<i64, [1100], 1, align 64>
!small = !rt.access<i32, [1100], 1, align 64>
!flags = !rt.access<i1, [1100], 1, align 64>
!i64 = !rt.access<i64, [1], 0>
!i32 = !rt.access<i32, [1], 0>
!i1 = !rt.access<i1, [1], 0>
rt.row_program @integers rows [9] columns 1100
    (%ids: !ids, %small: !small, %flags: !flags, %sum: !i64, %max: !i64, %min: !i32, %all: !i1, %any: !i1, %copy: !flags) {
  %s, %m, %n, %a, %o = rt.sweep (%id = %ids : !ids, %v = %small : !small, %flag = %flags : !flags) writes (%copy : !flags)
      reduces (add : i64, max : i64, min : i32, and : i1, or : i1) {
    rt.yield %flag, %id, %id, %v, %flag, %flag : i1, i64, i64, i32, i1, i1
  }
  rt.store %s, %sum : i64, !i64
  rt.store %m, %max : i64, !i64
  rt.store %n, %min : i32, !i32
  rt.store %a, %all : i1, !i1
  rt.store %o, %any : i1, !i1
}

// Doubles: sums, extremes and functions, in a warp and in a block.
!doubles = !rt.access<f64, [130], 1, align 64>
!doubles_long = !rt.access<f64, [1300], 1, align 64>
!double = !rt.access<f64, [1], 0>
rt.row_program @doubles rows [50] columns 130 (%x: !doubles, %y: !doubles, %sum: !double) {
  %s, %m = rt.sweep (%a = %x : !doubles) reduces (add : f64, max : f64) { rt.yield %a, %a : f64, f64 }
  rt.store %s, %sum : f64, !double
  rt.sweep (%a = %x : !doubles) writes (%y : !doubles) {
    %b = arith.subf %a, %m : f64
    %c = math.exp %b : f64
    rt.yield %c : f64
  }
}
rt.row_program @doubles_long rows [50] columns 1300 (%x: !doubles_long, %max: !double, %min: !double) {
  %m, %n = rt.sweep (%a = %x : !doubles_long) reduces (max : f64, min : f64) { rt.yield %a, %a : f64, f64 }
  rt.store %m, %max : f64, !double
  rt.store %n, %min : f64, !double
}

// Short floats: loaded, rounded inside and stored.
!bf16 = !rt.access<bf16, [576], 1, align 64>
!f16 = !rt.access<f16, [576], 1, align 64>
rt.row_program @short_floats rows [64] columns 576 (%x: !bf16, %h: !f16, %y: !bf16, %z: !f16) {
  rt.sweep (%a = %x : !bf16, %b = %h : !f16) writes (%y : !bf16, %z : !f16) {
    %s = arith.addf %a, %b : f32
    %t = arith.truncf %s : f32 to bf16
    %u = arith.extf %t : bf16 to f32
    %v = arith.mulf %u, %b : f32
    rt.yield %s, %v : f32, f32
  }
}

// Sums over blocks of rows in two dimensions, over columns and of a value per row.
!image = !rt.access<f32, [19200, 1920, 192], 1, align 64>
!sums = !rt.access<f32, [192, 0, 0], 1, accumulate, align 64>
!total = !rt.access<f32, [1, 0, 0], 0, accumulate>
rt.row_program @block_sums rows [5, 10, 10] columns 192 group 100 (%x: !image, %s: !sums, %t: !total) {
  %r = rt.sweep (%a = %x : !image) writes (%s : !sums) reduces (add : f32) {
    rt.yield %a, %a : f32, f32
  }
  rt.store %r, %t : f32, !total
}

// Rows that no single stride steps through, with their indices; written in place.
!tiles = !rt.access<f32, [12800, 3200, 64], 1, align 64>
rt.row_program @indices rows [3, 2, 5] columns 64 (%x: !tiles) {
  %i = rt.row_index 0 : i32
  %j = rt.row_index 2 : i32
  %k = arith.muli %i, %j : i32
  rt.sweep (%a = %x : !tiles) writes (%x : !tiles) {
    %c = rt.column_index : i32
    %d = arith.addi %c, %k : i32
    %e = arith.sitofp %d : i32 to f32
    %f = arith.addf %a, %e : f32
    rt.yield %f : f32
  }
}

// Scratch rows in shared memory, and one that it has no room for.
!scores = !rt.access<f32, [1032], 1, align 64>
!long = !rt.access<f32, [13000], 1, align 64>
rt.row_program @softmax rows [33] columns 1032 (%x: !scores, %y: !scores) {
  %exps = rt.scratch : !rt.scratch<f32>
  %max = rt.sweep (%a = %x : !scores) reduces (max : f32) { rt.yield %a : f32 }
  %sum = rt.sweep (%a = %x : !scores) writes (%exps : !rt.scratch<f32>) reduces (add : f32) {
    %b = arith.subf %a, %max : f32
    %c = math.exp %b : f32
    rt.yield %c, %c : f32, f32
  }
  rt.sweep (%a = %exps : !rt.scratch<f32>) writes (%y : !scores) {
    %b = arith.divf %a, %sum : f32
    rt.yield %b : f32
  }
}
rt.row_program @softmax_long rows [7] columns 13000 (%x: !long, %y: !long) {
  %exps = rt.scratch : !rt.scratch<f32>
  %max = rt.sweep (%a = %x : !long) reduces (max : f32) { rt.yield %a : f32 }
  %sum = rt.sweep (%a = %x : !long) writes (%exps : !rt.scratch<f32>) reduces (add : f32) {
    %b = arith.subf %a, %max : f32
    %c = math.exp %b : f32
    rt.yield %c, %c : f32, f32
  }
  rt.sweep (%a = %exps : !rt.scratch<f32>) writes (%y : !long) {
    %b = arith.divf %a, %sum : f32
    rt.yield %b : f32
  }
}

// Functions that are arithmetic here: the same polynomials on both sides.
!functions = !rt.access<f32, [1000], 1, align 64>
rt.row_program @functions rows [8] columns 1000 (%x: !functions, %y: !functions) {
  rt.sweep (%a = %x : !functions) writes (%y : !functions) {
    %b = math.tanh %a : f32
    %c = math.sin %a : f32
    %d = math.erf %a : f32
    %e = math.absf %a : f32
    %f = math.log1p %e : f32
    %g = math.powf %e, %b : f32
    %h = arith.addf %b, %c : f32
    %i = arith.addf %d, %f : f32
    %j = arith.addf %h, %i : f32
    %k = arith.addf %j, %g : f32
    rt.yield %k : f32
  }
}
