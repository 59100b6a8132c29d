using System.Text.Json.Serialization;
using Hyperscope.GuestLinux;

namespace Hyperscope.Cli.Output;

internal sealed record LinuxEventRecord(
    string Time, string Event, int Vcpu, int Pid, int Tgid, string Comm, string Summary, int? ChildPid = null, int? ChildTgid = null, string? Path = null,
    string? Interpreter = null, IReadOnlyList<string>? Arguments = null, int? Status = null, int? Signal = null, int? Syscall = null, string? Name = null,
    IReadOnlyList<LinuxArgumentRecord>? Parameters = null, string? Module = null, string? Flags = null)
{
    public static LinuxEventRecord Of(GuestEvent seen)
    {
        EventTask by = seen.Origin.By;
        var record = new LinuxEventRecord(
            seen.Origin.Time.ToString("O", CultureInfo.InvariantCulture), NameOf(seen.Kind), seen.Origin.Vcpu.Value, by.Pid, by.Tgid, by.Comm, seen.Summary);
        return seen switch
        {
            TaskCreated created => record with { ChildPid = created.Child.Pid, ChildTgid = created.Child.Tgid },
            ProgramExecuted executed => record with { Path = executed.Path, Interpreter = executed.Interpreter, Arguments = executed.Arguments },
            TaskExited exited => record with { Status = exited.Status, Signal = exited.Signal },
            SyscallEntered call => record with
            {
                Syscall = call.Number,
                Name = call.Name,
                Parameters = [.. call.Arguments.Select(static one => new LinuxArgumentRecord(one.Name, one.Type, $"0x{one.Value:x}", one.Text))],
            },
            ModuleLoaded loaded => record with { Name = loaded.Name, Module = $"{loaded.Module}" },
            ModuleUnloaded unloaded => record with { Name = unloaded.Name, Module = $"{unloaded.Module}" },
            FileOpened opened => record with { Path = opened.Path, Flags = $"0x{opened.Flags:x}" },
            _ => record,
        };
    }

    public static string NameOf(GuestEventKinds kind) => kind switch
    {
        GuestEventKinds.Created => "create",
        GuestEventKinds.Executed => "exec",
        GuestEventKinds.Exited => "exit",
        GuestEventKinds.SyscallEntered => "syscall",
        GuestEventKinds.ModuleLoaded or GuestEventKinds.ModuleUnloaded => "module",
        _ => "open",
    };
}

internal sealed record LinuxArgumentRecord(string Name, string Type, string Value, string Text);

internal sealed record LinuxFrameRecord(string Ip, string Sp, string Symbol, string Source);

internal sealed record LinuxStackRecord(int Vcpu, IReadOnlyList<LinuxFrameRecord> Frames, string End, bool Complete);

internal sealed record LinuxCoreRecord(string File, long Bytes, long UnreadPages, IReadOnlyList<LinuxBlockRecord> Blocks);

/// <summary>What <c>linux isf</c> wrote.</summary>
internal sealed record LinuxIsfRecord(string File, int Types, int Enums, int Symbols);

internal sealed record LinuxBlockRecord(string Start, ulong Length);

/// <summary>What the commands about events, stacks and cores print with <c>--json</c>.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(LinuxEventRecord))]
[JsonSerializable(typeof(LinuxStackRecord))]
[JsonSerializable(typeof(LinuxCoreRecord))]
[JsonSerializable(typeof(LinuxIsfRecord))]
internal sealed partial class LinuxEventJson : JsonSerializerContext;
