#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// OpenVINO's C interface as `openvino/c/*.h` declares it, each function found by its name in a library that is loaded
/// when it is needed.
///
/// Structures by value stand as their words: `ov_shape_t`, a number and a pointer, is passed in two registers on x86-64 and
/// on AArch64, as two arguments are. Larger ones (`ov_partial_shape_t`) go by address only.
struct OpenVINOFunctions: Sendable {
  typealias Status = Int32
  typealias Handle = OpaquePointer
  typealias Made = UnsafeMutablePointer<OpaquePointer?>
  typealias Words = UnsafeMutablePointer<Int64>
  typealias Text = UnsafePointer<CChar>

  let errorInfo: @convention(c) (Status) -> Text?
  let lastErrorMessage: @convention(c) () -> Text?
  let freeText: @convention(c) (Text?) -> Void
  /// `ov_version_t`: build number, description.
  let version: @convention(c) (UnsafeMutablePointer<Text?>) -> Status
  let versionFree: @convention(c) (UnsafeMutablePointer<Text?>) -> Void

  let coreCreate: @convention(c) (Made) -> Status
  let coreFree: @convention(c) (Handle?) -> Void
  let readModel: @convention(c) (Handle, Text?, Int, Handle?, Made) -> Status
  /// `ov_property_t`: key, value.
  let compileModel: @convention(c) (Handle, Handle, Text, Int, UnsafePointer<Text?>?, Made) -> Status

  let modelFree: @convention(c) (Handle?) -> Void
  let modelInputCount: @convention(c) (Handle, UnsafeMutablePointer<Int>) -> Status
  let modelOutputCount: @convention(c) (Handle, UnsafeMutablePointer<Int>) -> Status
  let modelInput: @convention(c) (Handle, Int, Made) -> Status
  /// `ov_partial_shape_t`: least and greatest rank, address of pairs of least and greatest size.
  let modelReshape: @convention(c) (Handle, UnsafePointer<Int>, UnsafePointer<Int>, Int) -> Status

  let portElementType: @convention(c) (Handle, UnsafeMutablePointer<Int32>) -> Status
  let portPartialShape: @convention(c) (Handle, UnsafeMutablePointer<Int>) -> Status
  let portFree: @convention(c) (Handle?) -> Void
  let partialShapeFree: @convention(c) (UnsafeMutablePointer<Int>) -> Void

  let compiledModelFree: @convention(c) (Handle?) -> Void
  let createRequest: @convention(c) (Handle, Made) -> Status
  let requestFree: @convention(c) (Handle?) -> Void
  let requestSetInput: @convention(c) (Handle, Int, Handle) -> Status
  let requestInfer: @convention(c) (Handle) -> Status
  let requestOutput: @convention(c) (Handle, Int, Made) -> Status

  let tensorCreate: @convention(c) (Int32, Int64, Words?, Made) -> Status
  /// `ov_shape_t`: rank, address of sizes.
  let tensorShape: @convention(c) (Handle, UnsafeMutablePointer<Int>) -> Status
  let tensorElementType: @convention(c) (Handle, UnsafeMutablePointer<Int32>) -> Status
  let tensorByteCount: @convention(c) (Handle, UnsafeMutablePointer<Int>) -> Status
  let tensorData: @convention(c) (Handle, UnsafeMutablePointer<UnsafeMutableRawPointer?>) -> Status
  let tensorFree: @convention(c) (Handle?) -> Void
  let shapeFree: @convention(c) (UnsafeMutablePointer<Int>) -> Status

  /// The functions of a loaded library.
  ///
  /// - Throws: `GraphError.library` with the name that is not there, as in a library of another version.
  init(handle: UnsafeMutableRawPointer, path: String) throws(GraphError) {
    func find<Function>(_ name: String, as type: Function.Type = Function.self) throws(GraphError) -> Function {
      guard let address = dlsym(handle, name) else {
        throw GraphError(
          .library, message: "\(path) has no function \(name)",
          advice: "install OpenVINO \(OpenVINO.knownVersion), which `scripts/bootstrap --openvino` brings")
      }
      return unsafeBitCast(address, to: type)
    }
    errorInfo = try find("ov_get_error_info")
    lastErrorMessage = try find("ov_get_last_err_msg")
    freeText = try find("ov_free")
    version = try find("ov_get_openvino_version")
    versionFree = try find("ov_version_free")
    coreCreate = try find("ov_core_create")
    coreFree = try find("ov_core_free")
    readModel = try find("ov_core_read_model_from_memory_buffer")
    compileModel = try find("ov_core_compile_model_props")
    modelFree = try find("ov_model_free")
    modelInputCount = try find("ov_model_inputs_size")
    modelOutputCount = try find("ov_model_outputs_size")
    modelInput = try find("ov_model_const_input_by_index")
    modelReshape = try find("ov_model_reshape_by_port_indexes")
    portElementType = try find("ov_port_get_element_type")
    portPartialShape = try find("ov_port_get_partial_shape")
    portFree = try find("ov_output_const_port_free")
    partialShapeFree = try find("ov_partial_shape_free")
    compiledModelFree = try find("ov_compiled_model_free")
    createRequest = try find("ov_compiled_model_create_infer_request")
    requestFree = try find("ov_infer_request_free")
    requestSetInput = try find("ov_infer_request_set_input_tensor_by_index")
    requestInfer = try find("ov_infer_request_infer")
    requestOutput = try find("ov_infer_request_get_output_tensor_by_index")
    tensorCreate = try find("ov_tensor_create")
    tensorShape = try find("ov_tensor_get_shape")
    tensorElementType = try find("ov_tensor_get_element_type")
    tensorByteCount = try find("ov_tensor_get_byte_size")
    tensorData = try find("ov_tensor_data")
    tensorFree = try find("ov_tensor_free")
    shapeFree = try find("ov_shape_free")
  }
}

/// `ov_element_type_e`, of which these are used.
enum OpenVINOElement: Int32, CaseIterable {
  case boolean = 1
  case float16 = 3
  case float32 = 4
  case float64 = 5
  case int8 = 7
  case int32 = 9
  case int64 = 10
  case uint8 = 16

  var byteCount: Int {
    switch self {
    case .boolean, .int8, .uint8: 1
    case .float16: 2
    case .float32, .int32: 4
    case .float64, .int64: 8
    }
  }
}
