using System.Runtime.CompilerServices;
using System.Threading.Channels;

namespace Hyperscope.Client;

public sealed partial class IntrospectedVm
{
    /// <summary>Handles each event of one kind on the connection's own thread, the fastest way: no allocation and no change of threads
    /// between the event and its answer.</summary>
    /// <param name="handler">Answers the event before it returns. Until then nothing else is read from this VM; use
    /// <see cref="Send{TCommand}(ICommand{TCommand}, CancellationToken)"/> for commands and never block on their tasks.</param>
    /// <returns>Ends the handling when disposed.</returns>
    /// <exception cref="InvalidOperationException">This kind already has a handler or loop.</exception>
    public IDisposable On<T>(Action<VmEvent<T>> handler)
        where T : unmanaged, IEvent<T> => Register(T.Id, new HandlerRoute<T>(_connection, vmEvent =>
        {
            handler(vmEvent);
            return true;
        }));

    /// <summary>Handles each event of one kind on the thread pool; events of different vCPUs at the same time.</summary>
    /// <param name="handler">Answers the event before its task completes.</param>
    /// <inheritdoc cref="On{T}"/>
    public IDisposable OnAsync<T>(Func<VmEvent<T>, ValueTask> handler)
        where T : unmanaged, IEvent<T> => Register(T.Id, new AsyncHandlerRoute<T>(_connection, static _ => false, handler));

    /// <summary>Deals with the common case of an event on the connection's own thread, and with the rest on the thread pool.</summary>
    /// <param name="first">Answers the event and returns true, or leaves it alone and returns false; as a handler of <see cref="On{T}"/>.</param>
    /// <param name="rest">Answers those before its task completes.</param>
    /// <inheritdoc cref="On{T}"/>
    public IDisposable OnSplit<T>(Func<VmEvent<T>, bool> first, Func<VmEvent<T>, ValueTask> rest)
        where T : unmanaged, IEvent<T> => Register(T.Id, new AsyncHandlerRoute<T>(_connection, first, rest));

    /// <summary>Reads the events that no handler takes, in a loop: <c>await foreach (VmEvent e in vm.Events()) e.Continue();</c></summary>
    /// <remarks>Events are collected from this call on, so call it before you enable them. The loop answers each event before it goes on
    /// to the next or ends, or gets an <see cref="EventAnswerException"/>. It ends when the connection does; with an exception if that
    /// had a reason.</remarks>
    /// <exception cref="InvalidOperationException">Another loop reads them already.</exception>
    public IAsyncEnumerable<VmEvent> Events(CancellationToken cancellation = default)
    {
        var route = new StreamRoute();
        _connection.Router.Add(null, route);
        return Read(null, route, static slot => new VmEvent(slot), cancellation);
    }

    /// <summary>Reads the events of one kind in a loop.</summary>
    /// <inheritdoc cref="Events(CancellationToken)"/>
    public IAsyncEnumerable<VmEvent<T>> Events<T>(CancellationToken cancellation = default)
        where T : unmanaged, IEvent<T>
    {
        var route = new StreamRoute();
        _connection.Router.Add(T.Id, route);
        return Read(T.Id, route, static slot => new VmEvent<T>(slot), cancellation);
    }

    private Registration Register(EventId id, EventRoute route)
    {
        _connection.Router.Add(id, route);
        return new Registration(_connection.Router, id, route);
    }

    private async IAsyncEnumerable<TItem> Read<TItem>(
        EventId? id, StreamRoute route, Func<EventSlot, TItem> view, [EnumeratorCancellation] CancellationToken cancellation)
    {
        ChannelReader<EventSlot> reader = route.Reader;
        EventSlot? current = null;
        try
        {
            while (await reader.WaitToReadAsync(cancellation).ConfigureAwait(false))
            {
                while (reader.TryRead(out current))
                {
                    yield return view(current);
                    EventSlot done = current;
                    current = null;
                    RequireAnswer(done);
                    cancellation.ThrowIfCancellationRequested();
                }
            }
        }
        finally
        {
            _connection.Router.Remove(id, route);
            route.Close(null);
            while (reader.TryRead(out EventSlot? left))
                _connection.AnswerUnhandled(left);
            if (current is not null && cancellation.IsCancellationRequested)
                current.AnswerDefault(EventAction.Continue);
            else if (current is not null)
                RequireAnswer(current);
        }
    }

    // The guest is not left standing for the tool's mistake: the event gets the default answer, and the loop the exception.
    private void RequireAnswer(EventSlot slot)
    {
        if (slot.IsPending && !_connection.IsClosed && slot.AnswerDefault(EventAction.Continue))
            throw slot.NotAnswered();
    }

    private sealed class Registration(EventRouter router, EventId id, EventRoute route) : IDisposable
    {
        public void Dispose() => router.Remove(id, route);
    }
}
