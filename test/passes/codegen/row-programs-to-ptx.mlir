// RUN: graft-translate --row-programs-to-ptx %s | FileCheck %s --implicit-check-not=.local --implicit-check-not=.extern

// Tests that there is one header, for the oldest architecture.
// CHECK: .version 7.0
// CHECK-NEXT: .target sm_80
// CHECK-NOT: .version

// Tests that a warp sums a row: 16-byte accesses, a butterfly of shuffles, one lane that stores the row's value.
// CHECK-LABEL: .entry rmsnorm(
// CHECK: .param .u64 .ptr .align 64 rmsnorm_param_0
// CHECK: .param .u64 rmsnorm_param_5
// CHECK: .reqntid 128
// CHECK-NEXT: .minnctapersm 2
// CHECK: ld.global.nc.v4.b32
// CHECK-COUNT-5: shfl.sync.bfly.b32
// CHECK-NOT: shfl
// CHECK: sqrt.rn.f32
// CHECK: @%p{{.*}} bra
// CHECK: st.global.b32
// CHECK: ld.global.nc.v4.b32
// CHECK: ld.global.nc.v4.b32
// CHECK: st.global.v4.b32
!rows = !rt.access<f32, [576], 1, noalias, align 64>
!columns = !rt.access<f32, [0], 1, noalias, align 64>
!row = !rt.access<f32, [1], 0, noalias>
rt.row_program @rmsnorm rows [1024] columns 576 (%x: !rows, %w: !columns, %y: !rows, %rstd: !row) {
  %inverse = arith.constant 1.736111e-03 : f32
  %ss = rt.sweep (%a = %x : !rows) reduces (add : f32) {
    %q = arith.mulf %a, %a : f32
    rt.yield %q : f32
  }
  %mean = arith.mulf %ss, %inverse : f32
  %r = math.rsqrt %mean : f32
  rt.store %r, %rstd : f32, !row
  rt.sweep (%a = %x : !rows, %b = %w : !columns) writes (%y : !rows) {
    %t = arith.mulf %a, %r : f32
    %u = arith.mulf %t, %b : f32
    rt.yield %u : f32
  }
}

// Tests that the sum over a block of rows is added in place, by the lane that owns the columns, without atomics.
// CHECK-LABEL: .entry rmsnorm_backward(
// CHECK-NOT: {{atom|red}}.
// CHECK: ld.global.v4.b32 [[OLD:.*]], [[PARTIAL:\[%rd.*\]]];
// CHECK: st.global.v4.b32 [[PARTIAL]]
// CHECK-COUNT-5: shfl.sync.bfly.b32
// CHECK: st.global.v4.b32
!blocks = !rt.access<f32, [147456, 576], 1, noalias, align 64>
!shared = !rt.access<f32, [0, 0], 1, noalias, align 64>
!scale = !rt.access<f32, [256, 1], 0, noalias>
!partial = !rt.access<f32, [576, 0], 1, accumulate, noalias, align 64>
rt.row_program @rmsnorm_backward rows [4, 256] columns 576 group 256
    (%g: !blocks, %x: !blocks, %w: !shared, %rstd: !scale, %dx: !blocks, %dw: !partial) {
  %r = rt.load %rstd : !scale -> f32
  %dot = rt.sweep (%a = %g : !blocks, %b = %x : !blocks, %c = %w : !shared) writes (%dw : !partial) reduces (add : f32) {
    %ab = arith.mulf %a, %b : f32
    %d = arith.mulf %ab, %r : f32
    %e = arith.mulf %ab, %c : f32
    rt.yield %d, %e : f32, f32
  }
  rt.sweep (%a = %g : !blocks, %b = %x : !blocks, %c = %w : !shared) writes (%dx : !blocks) {
    %gw = arith.mulf %a, %c : f32
    %xs = arith.mulf %b, %dot : f32
    %d = arith.subf %gw, %xs : f32
    %e = arith.mulf %d, %r : f32
    rt.yield %e : f32
  }
}

// Tests that a softmax keeps a warp's exponentials in shared memory, and that the exponential is a polynomial.
// CHECK-LABEL: .entry softmax(
// CHECK: .shared .align 64 .b8 softmax{{.*}}scratch{{.*}}[16384]
// CHECK: ld.global.nc.v4.b32
// CHECK: max.f32
// CHECK-NOT: ex2.approx
// CHECK: st.shared.v4.b32
// CHECK: ld.shared.v4.b32
// CHECK: st.global.v4.b32
!scores = !rt.access<f32, [1024], 1, noalias, align 64>
rt.row_program @softmax rows [64] columns 1024 (%x: !scores, %y: !scores) {
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

// Tests that long rows take a block, which folds its warps' values through shared memory between two barriers.
// CHECK-LABEL: .entry total(
// CHECK: .reqntid 256
// CHECK: .shared .align 64 .b8 total{{.*}}slots{{.*}}[64]
// CHECK-COUNT-5: shfl.sync.bfly.b32
// CHECK: st.shared.b32
// CHECK: bar{{.*}}.sync
// CHECK: ld.shared.b32
// CHECK: bar{{.*}}.sync
// CHECK-COUNT-3: shfl.sync.bfly.b32
// CHECK-NOT: shfl
!long = !rt.access<f32, [4096], 1, noalias, align 64>
rt.row_program @total rows [64] columns 4096 (%x: !long, %y: !row) {
  %s = rt.sweep (%a = %x : !long) reduces (add : f32) { rt.yield %a : f32 }
  rt.store %s, %y : f32, !row
}

// Tests an element-wise kernel with five operands, two of them halves of one row.
// CHECK-LABEL: .entry swiglu_backward(
// CHECK-COUNT-3: ld.global.nc.v4.b32
// CHECK-COUNT-2: st.global.v4.b32
!packed = !rt.access<f32, [3072], 1, noalias, align 64>
!halves = !rt.access<f32, [1536], 1, noalias, align 64>
rt.row_program @swiglu_backward rows [64] columns 1536 (%dh: !halves, %gate: !packed, %up: !packed, %dgate: !packed, %dup: !packed) {
  %one = arith.constant 1.0 : f32
  rt.sweep (%dy = %dh : !halves, %g = %gate : !packed, %u = %up : !packed) writes (%dgate : !packed, %dup : !packed) {
    %n = arith.negf %g : f32
    %e = math.exp %n : f32
    %d = arith.addf %one, %e : f32
    %s = arith.divf %one, %d : f32
    %silu = arith.mulf %g, %s : f32
    %du = arith.mulf %dy, %silu : f32
    %rest = arith.subf %one, %s : f32
    %t = arith.mulf %g, %rest : f32
    %t1 = arith.addf %one, %t : f32
    %slope = arith.mulf %s, %t1 : f32
    %dyu = arith.mulf %dy, %u : f32
    %dg = arith.mulf %dyu, %slope : f32
    rt.yield %dg, %du : f32, f32
  }
}

// Tests that odd columns, whose rows are not aligned, go one by one.
// CHECK-LABEL: .entry odd(
// CHECK-NOT: .v{{[24]}}
// CHECK: ld.global.nc.b32
// CHECK: st.global.b32
!odd = !rt.access<f32, [577], 1, noalias, align 64>
rt.row_program @odd rows [64] columns 577 (%x: !odd, %y: !odd) {
  rt.sweep (%a = %x : !odd) writes (%y : !odd) {
    %b = arith.addf %a, %a : f32
    rt.yield %b : f32
  }
}

// Tests that doubles go two at a time, and travel between lanes as two words.
// CHECK-LABEL: .entry doubles(
// CHECK-COUNT-10: shfl.sync.bfly.b32
// CHECK: ld.global.nc.v2.b64
// CHECK: st.global.b64
!doubles = !rt.access<f64, [128], 1, noalias, align 64>
!double = !rt.access<f64, [1], 0, noalias>
rt.row_program @doubles rows [64] columns 128 (%x: !doubles, %y: !double) {
  %s = rt.sweep (%a = %x : !doubles) reduces (add : f64) { rt.yield %a : f64 }
  rt.store %s, %y : f64, !double
}

// Tests that bf16 goes eight at a time and is rounded by the instruction for two.
// CHECK-LABEL: .entry halves(
// CHECK: ld.global.nc.v4.b32
// CHECK-COUNT-4: cvt.rn.bf16x2.f32
// CHECK: st.global.v4.b32
!bf16 = !rt.access<bf16, [4096], 1, noalias, align 64>
rt.row_program @halves rows [64] columns 4096 (%x: !bf16, %y: !bf16) {
  %third = arith.constant 0.333333333 : f32
  rt.sweep (%a = %x : !bf16) writes (%y : !bf16) {
    %b = arith.mulf %a, %third : f32
    rt.yield %b : f32
  }
}
