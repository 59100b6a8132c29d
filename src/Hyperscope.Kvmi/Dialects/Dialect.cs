using System.Diagnostics.CodeAnalysis;

namespace Hyperscope.Kvmi;

/// <summary>What one family of peers puts on the wire, seen from the core messages, whose ids and layouts are those of v9.</summary>
/// <remarks>
/// <para>Where <see cref="IsCore"/> is true the wire is the core and none of the translating methods is called, so the
/// reference dialect costs one predictable branch a message.</para>
/// <para>The translating methods are pure and allocate nothing. Everything that differs in meaning rather than in layout is a member
/// here, so handlers hold no tests for a dialect's name.</para>
/// </remarks>
public abstract class Dialect
{
    /// <summary>The ninth revision of the patch series: the reference.</summary>
    public static Dialect V9 { get; } = new V9Dialect();

    /// <summary>What the existing C and Rust tools speak.</summary>
    public static Dialect Libkvmi { get; } = new LibkvmiDialect();

    /// <summary>Whatever the peer's first message says it is, see <see cref="Settle"/>.</summary>
    public static Dialect Auto { get; } = new AutoDialect();

    /// <summary>Finds a dialect by <see cref="Name"/>: <c>auto</c>, <c>v9</c> or <c>libkvmi</c>.</summary>
    public static bool TryParse(string? name, [NotNullWhen(true)] out Dialect? dialect)
    {
        dialect = name switch
        {
            "auto" => Auto,
            "v9" => V9,
            "libkvmi" => Libkvmi,
            _ => null,
        };
        return dialect is not null;
    }

    /// <summary>A short name for options and logs.</summary>
    public abstract string Name { get; }

    /// <summary>Ids and layouts are the core's own.</summary>
    public virtual bool IsCore => false;

    /// <summary>The dialect is known; false: <see cref="Settle"/> must see the first message before anything is translated.</summary>
    public virtual bool IsSettled => true;

    /// <summary>Wire id of an event message.</summary>
    public abstract ushort EventMessageId { get; }

    /// <summary>Wire id of an event reply.</summary>
    public abstract ushort EventReplyMessageId { get; }

    /// <summary>Finds the core id of a command; false if this dialect has no such command.</summary>
    public abstract bool TryGetMessage(ushort wireId, out MessageId id);

    /// <summary>Finds the wire id of a command; false if this dialect has no such command.</summary>
    public abstract bool TryGetWireId(MessageId id, out ushort wireId);

    /// <summary>Finds the core id of an event; false if this dialect has no such event.</summary>
    public abstract bool TryGetEvent(ushort wireId, out EventId id);

    /// <summary>Finds the wire id of an event; false if this dialect has no such event.</summary>
    public abstract bool TryGetWireId(EventId id, out ushort wireId);

    /// <summary>The dialect of a peer whose first message is this one.</summary>
    public virtual Dialect Settle(ushort wireId, int payloadSize) => this;

    /// <summary>What a command gets that <see cref="TryGetMessage"/> does not find.</summary>
    public virtual KvmError RefusalOf(ushort wireId) => KvmError.UnknownCommand;

    /// <summary>Reads a message that switches replies off or on; false: it is something else. Only with <see cref="HasReplyControl"/>.</summary>
    public virtual bool TryReadReplyControl(ushort wireId, ReadOnlySpan<byte> payload, out ReplyControl control)
    {
        control = default;
        return false;
    }

    /// <summary>Rewrites a command's or event reply's payload from the wire's layout to the core's.</summary>
    /// <returns>Bytes written to <paramref name="core"/>, or the negated <see cref="KvmError"/> that it gets if the payload has no counterpart.</returns>
    public abstract int CommandToCore(MessageId id, ReadOnlySpan<byte> wire, Span<byte> core);

    /// <summary>Rewrites a success reply's data, behind the error block, from the core's layout to the wire's. Both may be the same
    /// memory.</summary>
    /// <returns>Bytes written to <paramref name="wire"/>.</returns>
    public abstract int ReplyToWire(MessageId id, ReadOnlySpan<byte> core, Span<byte> wire);

    /// <summary>Rewrites an event's payload from the core's layout to the wire's. Both may be the same memory.</summary>
    /// <param name="id">The event.</param>
    /// <param name="core">Its payload.</param>
    /// <param name="wire">Where it goes.</param>
    /// <param name="view">The view of the vCPU, which the core's events do not show.</param>
    /// <returns>Bytes written to <paramref name="wire"/>.</returns>
    public abstract int EventToWire(EventId id, ReadOnlySpan<byte> core, Span<byte> wire, ushort view = 0);

    /// <summary>The longest specific data that a reply to this event may carry; more closes the connection.</summary>
    public abstract int EventReplyDataLimit(EventId id);

    /// <summary>The tool can switch command replies off and on (CONTROL_CMD_RESPONSE).</summary>
    public virtual bool HasReplyControl => false;

    /// <summary>Interceptions are undone at unhook without the tool asking for it.</summary>
    public virtual bool CleansUpByDefault => false;

    /// <summary>Padding and one-byte flags of requests are not checked.</summary>
    public virtual bool IgnoresPadding => false;

    /// <summary>What a check command answers for an unknown id.</summary>
    public virtual KvmError UnknownIdInCheck => KvmError.NotFound;

    /// <summary>A page fault's reply may bring the data that the access shall see.</summary>
    public virtual bool HasPageFaultReplyData => false;

    /// <summary>What restricting a frame gets where there is no memory.</summary>
    public virtual KvmError MissingFrame => KvmError.InvalidArgument;

    /// <summary>MSR 0 can be read, as 0, although the CPU has no such MSR: a miscompiled tool asks for it nine times.</summary>
    public virtual bool HasMsrZero => false;

    /// <summary>A requested pause is reported before any other event of that vCPU, and before the guest executes anything more. Without it
    /// the event comes at the next entry.</summary>
    public virtual bool PausesComeFirst => false;

    /// <summary>Giving a page its w right ends watches on its bytes: there is one write bitmap, and it counts for pages without that right
    /// only.</summary>
    public virtual bool PageRightsEndWatches => false;

    /// <summary>A vCPU that was never started cannot be paused.</summary>
    public virtual bool PausesOnlyStartedVcpus => false;

    /// <summary>Switching on an event that is on, or off one that is off, succeeds.</summary>
    public virtual bool ToleratesRepeatedSwitching => false;

    /// <inheritdoc/>
    public override string ToString() => Name;
}

/// <summary>A message that switches command replies off or on (C name KVMI_CONTROL_CMD_RESPONSE).</summary>
/// <param name="Enable">Replies are on from the next message on.</param>
/// <param name="Now">The setting counts for this message already.</param>
public readonly record struct ReplyControl(bool Enable, bool Now)
{
    /// <summary>This message is answered, given whether replies were off when it came.</summary>
    public bool IsAnswered(bool wereOff) => Now ? Enable : !Enable || !wereOff;
}
