using System.Text.Json.Serialization;

namespace Hyperscope.Cli.Output;

internal sealed record LinuxListRecord<T>(IReadOnlyList<T> Items, string? Truncated);

internal sealed record LinuxInfoRecord(
    string Banner, string Release, string BuildId, string Slide, string Text, string Rodata, string Data, string Image, string PhysicalText,
    string PageTable, string DirectMap, int Symbols, int Types, int AttachMilliseconds, bool FromProfile);

internal sealed record LinuxProcessRecord(
    int Pid, int Tgid, int Ppid, uint Uid, uint Euid, uint Gid, uint Egid, string Capabilities, string State, int Threads, bool KernelThread, string Comm,
    string Task, string Mm, double StartSeconds, IReadOnlyDictionary<string, uint> Namespaces, bool Hidden, string FoundIn);

internal sealed record LinuxMappingRecord(string Start, string End, string Access, bool Shared, string Offset, string Device, ulong Inode, string Name);

internal sealed record LinuxFileRecord(int Fd, string Path, string Flags, ulong Position, ulong Inode, string File);

internal sealed record LinuxModulePartRecord(string Part, string Start, string End);

internal sealed record LinuxModuleRecord(
    string Name, ulong Size, int References, string State, string Base, string Address, IReadOnlyList<LinuxModulePartRecord> Parts, bool Hidden, string FoundIn,
    string MissingIn);

internal sealed record LinuxRangeRecord(string Start, string End);

internal sealed record LinuxModuleListRecord(
    IReadOnlyList<LinuxModuleRecord> Items, string? Truncated, IReadOnlyList<LinuxRangeRecord> UnownedCode);

internal sealed record LinuxSocketRecord(
    string Protocol, string Type, string State, string Local, string Remote, ulong Inode, int Pid, int Fd, string Sock);

internal sealed record LinuxSyscallRecord(int Number, string Name, string Target, string Symbol, bool InKernelText);

internal sealed record LinuxGateRecord(int Vector, string Target, string Symbol, string Selector, int Type, int Dpl, int Ist, bool InKernelText);

internal sealed record LinuxBpfRecord(uint Id, string Type, string Name, string Tag, string Code, uint CodeLength, uint Uid);

internal sealed record LinuxLogRecord(ulong Sequence, double Seconds, int Level, int Facility, string Text);

internal sealed record LinuxSymbolRecord(string Address, string Type, string Name, ulong? Offset, string? Module);

/// <summary>What the commands about Linux guests print with <c>--json</c>.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(LinuxInfoRecord))]
[JsonSerializable(typeof(LinuxListRecord<LinuxProcessRecord>))]
[JsonSerializable(typeof(LinuxListRecord<LinuxMappingRecord>))]
[JsonSerializable(typeof(LinuxListRecord<LinuxFileRecord>))]
[JsonSerializable(typeof(LinuxModuleListRecord))]
[JsonSerializable(typeof(LinuxListRecord<LinuxSocketRecord>))]
[JsonSerializable(typeof(LinuxListRecord<LinuxSyscallRecord>))]
[JsonSerializable(typeof(LinuxListRecord<LinuxGateRecord>))]
[JsonSerializable(typeof(LinuxListRecord<LinuxBpfRecord>))]
[JsonSerializable(typeof(LinuxListRecord<LinuxLogRecord>))]
[JsonSerializable(typeof(LinuxListRecord<LinuxSymbolRecord>))]
internal sealed partial class LinuxJson : JsonSerializerContext;
