// RUN: graft-opt %s --canonicalize | FileCheck %s

// Tests that an operator that changes nothing disappears.
// CHECK-LABEL: @identities
// CHECK-SAME: (%[[X:.*]]: tensor<2x3xf32>)
// CHECK-NEXT: return %[[X]], %[[X]], %[[X]], %[[X]], %[[X]], %[[X]]
func.func @identities(%x: tensor<2x3xf32>)
    -> (tensor<2x3xf32>, tensor<2x3xf32>, tensor<2x3xf32>, tensor<2x3xf32>, tensor<2x3xf32>, tensor<2x3xf32>) {
  %a = nn.broadcast %x dims = [0, 1] : tensor<2x3xf32> -> tensor<2x3xf32>
  %b = nn.reshape %x : tensor<2x3xf32> -> tensor<2x3xf32>
  %c = nn.transpose %x perm = [0, 1] : tensor<2x3xf32> -> tensor<2x3xf32>
  %d = nn.slice %x starts = [0, 0] steps = [1, 1] : tensor<2x3xf32> -> tensor<2x3xf32>
  %e = nn.pad %x starts = [0, 0] steps = [1, 1] : tensor<2x3xf32> -> tensor<2x3xf32>
  %f = nn.concat %x axis = 1 : tensor<2x3xf32> -> tensor<2x3xf32>
  return %a, %b, %c, %d, %e, %f
      : tensor<2x3xf32>, tensor<2x3xf32>, tensor<2x3xf32>, tensor<2x3xf32>, tensor<2x3xf32>, tensor<2x3xf32>
}

// Tests that a permutation between dimensions of equal size is not taken for an identity.
// CHECK-LABEL: @transpose_of_a_square
// CHECK: nn.transpose {{.*}} perm = [1, 0]
func.func @transpose_of_a_square(%x: tensor<3x3xf32>) -> tensor<3x3xf32> {
  %y = nn.transpose %x perm = [1, 0] : tensor<3x3xf32> -> tensor<3x3xf32>
  return %y : tensor<3x3xf32>
}

// Tests that two broadcasts become one, the inner dimensions found through the outer ones.
// CHECK-LABEL: @broadcast_of_broadcast
// CHECK-SAME: (%[[X:.*]]: tensor<8xf32>)
// CHECK-NEXT: %[[Y:.*]] = nn.broadcast %[[X]] dims = [2] : tensor<8xf32> -> tensor<2x4x8xf32>
// CHECK-NEXT: return %[[Y]]
func.func @broadcast_of_broadcast(%x: tensor<8xf32>) -> tensor<2x4x8xf32> {
  %a = nn.broadcast %x dims = [1] : tensor<8xf32> -> tensor<2x8xf32>
  %b = nn.broadcast %a dims = [0, 2] : tensor<2x8xf32> -> tensor<2x4x8xf32>
  return %b : tensor<2x4x8xf32>
}

// Tests that only the last of a chain of reshapes remains, and none if it leads back.
// CHECK-LABEL: @reshape_of_reshape
// CHECK-SAME: (%[[X:.*]]: tensor<2x12xf32>)
// CHECK-NEXT: %[[Y:.*]] = nn.reshape %[[X]] : tensor<2x12xf32> -> tensor<8x3xf32>
// CHECK-NEXT: return %[[Y]], %[[X]]
func.func @reshape_of_reshape(%x: tensor<2x12xf32>) -> (tensor<8x3xf32>, tensor<2x12xf32>) {
  %a = nn.reshape %x : tensor<2x12xf32> -> tensor<24xf32>
  %b = nn.reshape %a : tensor<24xf32> -> tensor<8x3xf32>
  %c = nn.reshape %b : tensor<8x3xf32> -> tensor<2x12xf32>
  return %b, %c : tensor<8x3xf32>, tensor<2x12xf32>
}

// Tests that two permutations are composed in the right order.
// CHECK-LABEL: @transpose_of_transpose
// CHECK-SAME: (%[[X:.*]]: tensor<2x3x4xf32>)
// CHECK-NEXT: %[[Y:.*]] = nn.transpose %[[X]] perm = [2, 1, 0] : tensor<2x3x4xf32> -> tensor<4x3x2xf32>
// CHECK-NEXT: return %[[Y]]
func.func @transpose_of_transpose(%x: tensor<2x3x4xf32>) -> tensor<4x3x2xf32> {
  %a = nn.transpose %x perm = [1, 2, 0] : tensor<2x3x4xf32> -> tensor<3x4x2xf32>
  %b = nn.transpose %a perm = [1, 0, 2] : tensor<3x4x2xf32> -> tensor<4x3x2xf32>
  return %b : tensor<4x3x2xf32>
}

// Tests that a permutation and its inverse leave nothing.
// CHECK-LABEL: @transpose_and_back
// CHECK-SAME: (%[[X:.*]]: tensor<2x3x4xf32>)
// CHECK-NEXT: return %[[X]]
func.func @transpose_and_back(%x: tensor<2x3x4xf32>) -> tensor<2x3x4xf32> {
  %a = nn.transpose %x perm = [1, 2, 0] : tensor<2x3x4xf32> -> tensor<3x4x2xf32>
  %b = nn.transpose %a perm = [2, 0, 1] : tensor<3x4x2xf32> -> tensor<2x3x4xf32>
  return %b : tensor<2x3x4xf32>
}

// Tests that slices, pads and concatenations that do something stay.
// CHECK-LABEL: @work_stays
// CHECK: nn.slice
// CHECK: nn.pad
// CHECK: nn.concat
func.func @work_stays(%x: tensor<2x3xf32>) -> tensor<4x3xf32> {
  %a = nn.slice %x starts = [1, 0] steps = [1, 1] : tensor<2x3xf32> -> tensor<1x3xf32>
  %b = nn.pad %a starts = [1, 0] steps = [1, 1] : tensor<1x3xf32> -> tensor<2x3xf32>
  %c = nn.concat %b, %x axis = 0 : tensor<2x3xf32>, tensor<2x3xf32> -> tensor<4x3xf32>
  return %c : tensor<4x3xf32>
}
