using System.Text.Json;
using System.Text.Json.Serialization;

namespace Hyperscope.Cli.Output;

internal sealed record EventRecord(
    uint Seq, string Kind, int Vcpu, string Rip, string? Gva, string? Gpa, string? Access, string? Old, string? New, uint? Number,
    string? Answer);

internal sealed record PageRecord(string Gpa, string Access);

internal sealed record PageListRecord(string Endpoint, int ProcessId, IReadOnlyList<PageRecord> Pages);

internal sealed record MemoryRecord(string Address, int Length, string Hex);

internal sealed record WrittenRecord(string Address, long Length);

internal sealed record RegistersRecord(
    int Vcpu, int Mode, IReadOnlyDictionary<string, string> General, IReadOnlyDictionary<string, string> System,
    IReadOnlyDictionary<string, string> Msrs);

internal sealed record WatchInfoRecord(ulong Frames, ulong TableBytes, ulong TableLimit, ulong Passed, ulong Asked);

internal sealed record StepRecord(int Vcpu, int Step, string Rip, string Bytes, string Instruction);

internal sealed record SelftestRecord(string Id, string Area, string Claim, string Outcome, string Detail, double Milliseconds);

internal sealed record BackendRecord(string Backend, bool Present, string? Obstacle, string? Protection, string? ProtectionObstacle);

internal sealed record DoctorRecord(string Backend, string Kind, string Name, bool Works, string? Reason);

internal sealed record VmInfoRecord(
    uint Version, bool Singlestep, int Vcpus, string MaxGfn, IReadOnlyDictionary<string, string> Commands,
    IReadOnlyDictionary<string, string> Events);

/// <summary>What <c>--json</c> prints; addresses and registers are hex strings, because JSON numbers lose their upper bits.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(EventRecord))]
[JsonSerializable(typeof(PageListRecord))]
[JsonSerializable(typeof(MemoryRecord))]
[JsonSerializable(typeof(WrittenRecord))]
[JsonSerializable(typeof(RegistersRecord))]
[JsonSerializable(typeof(StepRecord))]
[JsonSerializable(typeof(WatchInfoRecord))]
[JsonSerializable(typeof(VmInfoRecord))]
[JsonSerializable(typeof(SelftestRecord))]
[JsonSerializable(typeof(BackendRecord))]
[JsonSerializable(typeof(DoctorRecord))]
internal sealed partial class CliJson : JsonSerializerContext;

internal static class JsonOutput
{
    /// <summary>Writes one JSON value on a line.</summary>
    public static void WriteJson<T>(this CliConsole console, T value, System.Text.Json.Serialization.Metadata.JsonTypeInfo<T> type) =>
        console.Out.WriteLine(JsonSerializer.Serialize(value, type));
}
