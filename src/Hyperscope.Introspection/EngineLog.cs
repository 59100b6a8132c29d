using Microsoft.Extensions.Logging;

namespace Hyperscope.Introspection;

/// <summary>Decisions and changes of state. Event ids 2000 to 2999.</summary>
internal static partial class EngineLog
{
    [LoggerMessage(2000, LogLevel.Information, "VM {Vm}: hooked by {Tool}, dialect {Dialect}")]
    public static partial void Hooked(this ILogger logger, string vm, string tool, string dialect);

    [LoggerMessage(2001, LogLevel.Information, "VM {Vm}: unhooked from {Tool}")]
    public static partial void Unhooked(this ILogger logger, string vm, string tool);

    [LoggerMessage(2002, LogLevel.Information, "Tool {Tool}: connection closed: {Reason}")]
    public static partial void Closed(this ILogger logger, string tool, string reason);

    [LoggerMessage(2003, LogLevel.Warning, "VM {Vm}: hook refused with {Error}")]
    public static partial void HookRefused(this ILogger logger, string vm, ControlError error);

    [LoggerMessage(2004, LogLevel.Information, "Tool {Tool} speaks dialect {Dialect}")]
    public static partial void DialectFound(this ILogger logger, string tool, string dialect);

    [LoggerMessage(2005, LogLevel.Warning, "VM {Vm}: handshake with {Tool} failed, connection closed: {Reason}")]
    public static partial void HandshakeFailed(this ILogger logger, string vm, string tool, string reason);

    [LoggerMessage(2100, LogLevel.Debug, "Tool {Tool}: command {Command} refused with {Error}")]
    public static partial void CommandRefused(this ILogger logger, string tool, MessageId command, KvmError error);

    [LoggerMessage(2101, LogLevel.Warning, "Tool {Tool}: vCPU {Vcpu} stays paused because its {Event} event got no reply")]
    public static partial void PausedWithoutReply(this ILogger logger, string tool, VcpuIndex vcpu, EventId @event);

    [LoggerMessage(2102, LogLevel.Warning, "VM {Vm}: tool {Tool} asked for CRASH in a {Event} event of vCPU {Vcpu}")]
    public static partial void CrashRequested(this ILogger logger, string vm, string tool, EventId @event, VcpuIndex vcpu);

    [LoggerMessage(2103, LogLevel.Warning, "Tool {Tool}: the VM's back end has no exit for what causes {Event} events, so they are not supported")]
    public static partial void EventNotSupported(this ILogger logger, string tool, EventId @event);

    [LoggerMessage(2104, LogLevel.Warning, "Tool {Tool}: command {Command} is not supported, because the VM's back end has no {Lacking}")]
    public static partial void CommandNotSupported(this ILogger logger, string tool, MessageId command, VmCapabilities lacking);

    [LoggerMessage(2900, LogLevel.Error, "Tool {Tool}: unexpected failure, connection given up")]
    public static partial void Failed(this ILogger logger, string tool, Exception exception);
}
