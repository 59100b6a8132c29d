namespace Hyperscope.Client;

/// <summary>Who takes which event: a handler or stream for its kind, else the stream of all events.</summary>
internal sealed class EventRouter
{
    private readonly Lock _gate = new();
    private readonly EventRoute?[] _core = new EventRoute?[KvmiConstants.EventCount];
    private Dictionary<EventId, EventRoute> _others = []; // extensions; replaced on change
    private EventRoute? _all;
    private bool _isClosed;
    private Exception? _failure;

    /// <summary>Finds the taker, if there is one.</summary>
    public EventRoute? Find(EventId id)
    {
        EventRoute? route = (int)id < _core.Length
            ? Volatile.Read(ref _core[(int)id])
            : Volatile.Read(ref _others).GetValueOrDefault(id);
        return route ?? Volatile.Read(ref _all);
    }

    /// <summary>Adds a taker; <paramref name="id"/> is null for the taker of all other events.</summary>
    /// <exception cref="InvalidOperationException">There is one already.</exception>
    public void Add(EventId? id, EventRoute route)
    {
        lock (_gate)
        {
            if (Get(id) is not null)
                throw new InvalidOperationException(id is null
                    ? "all events are already read by a loop; an event can be answered only once"
                    : $"{id} events already have a handler or loop; an event can be answered only once");
            if (_isClosed)
                route.Close(_failure);
            else
                Set(id, route);
        }
    }

    /// <summary>Removes a taker, if it is still there.</summary>
    public void Remove(EventId? id, EventRoute route)
    {
        lock (_gate)
        {
            if (ReferenceEquals(Get(id), route))
                Set(id, null);
        }
    }

    /// <summary>Tells all takers that no further event will come.</summary>
    public void Close(Exception? failure)
    {
        List<EventRoute> routes = [];
        lock (_gate)
        {
            _isClosed = true;
            _failure = failure;
            foreach (EventRoute? route in _core)
            {
                if (route is not null)
                    routes.Add(route);
            }

            routes.AddRange(_others.Values);
            if (_all is not null)
                routes.Add(_all);
        }

        foreach (EventRoute route in routes)
            route.Close(failure);
    }

    private EventRoute? Get(EventId? id) => id switch
    {
        null => _all,
        { } core when (int)core < _core.Length => _core[(int)core],
        { } other => _others.GetValueOrDefault(other),
    };

    private void Set(EventId? id, EventRoute? route)
    {
        if (id is not { } kind)
        {
            Volatile.Write(ref _all, route);
            return;
        }

        if ((int)kind < _core.Length)
        {
            Volatile.Write(ref _core[(int)kind], route);
            return;
        }

        var others = new Dictionary<EventId, EventRoute>(_others);
        if (route is null)
            others.Remove(kind);
        else
            others[kind] = route;
        Volatile.Write(ref _others, others);
    }
}
